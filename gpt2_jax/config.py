"""Every default of the project, in frozen and validated dataclasses."""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any

POOLS = ("last_real", "last", "first", "mean", "last_mean")


DTYPES = ("float32", "bfloat16")


BALANCES = ("none", "undersample", "weights")


BASELINES = ("linear", "none")


RARE = ("error", "drop", "train")


BOOK_SPLITS = ("chapter", "additional")


SCHEDULES = ("constant", "linear", "cosine")


PARALLEL = ("jit", "pmap")


SHARDS = ("none", "fsdp")


METRICS = ("accuracy", "loss", "f1")


TRAINABLE = ("head", "last_block", "last_two_blocks", "all", "lora")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_finite(config: Any) -> None:
    for field, value in vars(config).items():
        numbers = value if isinstance(value, tuple) else (value,)
        _require(
            all(math.isfinite(n) for n in numbers if isinstance(n, float)),
            f"{field}={value} must be finite",
        )


def _require_seed(field: str, value: int) -> None:
    _require(0 <= value < 2**32, f"{field}={value} is not in 0 to 2**32 - 1")


def _require_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, f"{field}={value!r} is not one of {', '.join(choices)}")


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """Architecture of a GPT-2 (Radford et al. 2019), as language model or classifier.

    Raises:
        ValueError: a size is not positive, a rate is outside [0, 1), the width is not
            divisible by the number of heads, or a choice is unknown.
    """

    vocab_size: int = 50257
    max_len: int = 1024  # positions in wpe
    embed_dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    dropout_rate: float = 0.0  # embeddings, attention weights and residual branches
    causal: bool = True
    tied: bool = True  # language model only: logits through wte, else `out_head/kernel`
    num_classes: int | None = None  # None: language model
    pool: str = "last_real"  # position whose hidden state is classified
    dtype: str = "float32"  # of matmuls; params, layer norms and softmax stay float32
    lora_rank: int = 0  # 0: no low-rank adapters on the dense kernels
    lora_alpha: float = 16.0

    def __post_init__(self) -> None:
        _require_finite(self)
        for field in ("vocab_size", "max_len", "embed_dim", "num_layers", "num_heads"):
            value = getattr(self, field)
            _require(
                0 < value < 2**31, f"{field}={value} must be positive, below 2**31"
            )
        _require(
            self.embed_dim % self.num_heads == 0,
            f"embed_dim={self.embed_dim} is not divisible by num_heads="
            f"{self.num_heads}",
        )
        _require(
            0.0 <= self.dropout_rate < 1.0,
            f"dropout_rate={self.dropout_rate} is not in [0, 1)",
        )
        _require(
            self.num_classes is None or self.num_classes >= 2,
            f"num_classes={self.num_classes} must be at least 2",
        )
        _require(self.lora_rank >= 0, f"lora_rank={self.lora_rank} must not be < 0")
        _require_choice("pool", self.pool, POOLS)
        _require_choice("dtype", self.dtype, DTYPES)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Width inside the MLP."""
        return 4 * self.embed_dim


# Sizes of the released GPT-2 models, and of the base model that this package ships.
PRESETS: Mapping[str, GPT2Config] = types.MappingProxyType(
    {
        "mini": GPT2Config(embed_dim=256, num_layers=12, num_heads=4),
        "124M": GPT2Config(embed_dim=768, num_layers=12, num_heads=12),
        "355M": GPT2Config(embed_dim=1024, num_layers=24, num_heads=16),
        "774M": GPT2Config(embed_dim=1280, num_layers=36, num_heads=20),
        "1558M": GPT2Config(embed_dim=1600, num_layers=48, num_heads=25),
    }
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which labelled texts, and how they are balanced and split."""

    source: str = "demo"  # demo, sms-spam, imdb, a file or folder, "-": standard input
    text_column: str | None = None  # None: "text"
    label_column: str | None = None  # None: "label"
    group_column: str | None = None  # rows with the same value stay on one side
    split_column: str | None = None  # says which part a row belongs to
    encoding: str = "utf-8"
    drop_duplicates: bool = False  # use each text once
    balance: str = "none"
    positive: str | None = None  # whose precision is told; None: the rarer of two
    rare: str = "error"  # what becomes of labels with fewer texts than `rare_below`
    rare_below: int = 2
    rename_labels: tuple[str, ...] = ()  # OLD=NEW
    label_threshold: float | None = None  # labels are numbers: below it, or not
    limit: int | None = None  # use so many texts, each class alike
    shots: int | None = None  # train on so many texts of each class
    split: tuple[float, float, float] = (0.7, 0.1, 0.2)
    # Identical texts (and the families of `demo`) stay on one side of the split.
    group: bool = True
    split_seed: int = 123  # apart from the training seed: all seeds test the same rows
    book: bool = False  # the book's parsing, sampling and split, to the row
    # Of the book's chapter, or that of its additional experiments, which shuffle twice.
    book_split: str = "chapter"
    unseen: bool = False  # no validation or test text that stands in train too

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_seed("split_seed", self.split_seed)
        _require_choice("balance", self.balance, BALANCES)
        _require_choice("rare", self.rare, RARE)
        for field in ("rare_below", "limit", "shots"):
            value = getattr(self, field)
            _require(value is None or value > 0, f"{field}={value} must be positive")
        for rename in self.rename_labels:
            _require("=" in rename, f"rename_labels: {rename!r} is not OLD=NEW")
        _require_choice("book_split", self.book_split, BOOK_SPLITS)
        _require(
            self.book or self.book_split == BOOK_SPLITS[0],
            f"book_split={self.book_split!r} needs book=True (--preset book)",
        )
        try:
            "".encode(self.encoding)
        except LookupError as error:  # "unknown encoding: utf-9"
            raise ValueError(f"encoding={self.encoding!r}: {error}") from None
        _require(
            len(self.split) == 3
            and all(part > 0 for part in self.split)
            and abs(sum(self.split) - 1.0) < 1e-6,
            f"split={self.split} must be three positive parts that sum to 1",
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation of one run."""

    trainable: tuple[str, ...] = ("last_block",)  # a name of TRAINABLE, or regexes
    epochs: int = 5
    batch_size: int = 8  # global, over all devices: texts of one update
    accumulate: int = 1  # pieces that a batch is cut into, whose gradients are added
    learning_rate: float = 1e-3  # the highest; experiments/recipe compares others
    weight_decay: float = 0.1  # on every trained leaf, as torch.optim.AdamW
    schedule: str = "cosine"
    warmup_steps: int | None = None  # None: 5% of all steps, 0 under "constant"
    clip_norm: float | None = None
    dropout_rate: float = 0.0
    lora_rank: int = 16  # of trainable=("lora",)
    lora_alpha: float = 16.0
    seed: int = 123
    parallel: str = "jit"
    devices: int | None = None  # None: all, of all processes
    shard: str = "none"  # fsdp: params and optimizer state are cut over the devices
    reuse_trunk: bool = True  # run the frozen trunk once per text, if dropout is 0
    reuse_max_bytes: int = 4 * 2**30  # and keep its output in memory up to this size,
    reuse_max_disk_bytes: int = 64 * 2**30  # or in a file up to this
    eval_every: int = 50  # steps
    eval_batches: int = 5
    save_every: int | None = None  # steps; None: once per epoch
    keep_checkpoints: int = 2  # the newest ones, beside the best; the last may get lost
    # Which parameters the run ends with: "last", or "best" on validation, which on a
    # small part is chance: see experiments/recipe.
    keep: str = "last"
    metric: str = "accuracy"  # on validation, that says which is best; see METRICS
    patience: int | None = None  # epochs without a better one until it stops
    tensorboard: bool = False  # also write the lines of metrics.jsonl for TensorBoard
    wandb: bool = False  # and to Weights & Biases

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_seed("seed", self.seed)
        counts = ("epochs", "batch_size", "eval_every", "eval_batches", "lora_rank")
        for field in counts:
            value = getattr(self, field)
            _require(value > 0, f"{field}={value} must be positive")
        _require(
            1 <= self.accumulate <= self.batch_size,
            f"accumulate={self.accumulate} must be between 1 and batch_size="
            f"{self.batch_size}: it is the number of pieces of a batch",
        )
        _require(
            self.learning_rate > 0, f"learning_rate={self.learning_rate} must be > 0"
        )
        for field in ("weight_decay", "warmup_steps"):
            value = getattr(self, field)
            _require(
                value is None or value >= 0, f"{field}={value} must not be negative"
            )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"clip_norm={self.clip_norm} must be positive",
        )
        _require(bool(self.trainable), "trainable names no parameters")
        _require(
            0.0 <= self.dropout_rate < 1.0,
            f"dropout_rate={self.dropout_rate} is not in [0, 1)",
        )
        for field in ("devices", "save_every", "patience"):
            value = getattr(self, field)
            _require(value is None or value > 0, f"{field}={value} must be positive")
        _require(
            self.keep_checkpoints >= 2,
            f"keep_checkpoints={self.keep_checkpoints} must be at least 2: a damaged "
            "one must not be the only one",
        )
        _require_choice("schedule", self.schedule, SCHEDULES)
        _require_choice("parallel", self.parallel, PARALLEL)
        _require_choice("shard", self.shard, SHARDS)
        _require(
            self.shard == "none"
            or (self.parallel == "jit" and self.trainable == ("all",)),
            f"shard={self.shard!r} needs parallel='jit' and trainable=('all',)",
        )
        _require_choice("keep", self.keep, ("best", "last"))
        _require_choice("metric", self.metric, METRICS)


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Everything that decides a run; `config.json` of a run is this, and replays it."""

    weights: str = "mini"
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    pool: str = "last_real"
    causal: bool = True
    max_length: int | None = None  # tokens; None: the longest training text
    dtype: str = "float32"
    baselines: str = "linear"  # that it is compared with, beside the majority class

    def __post_init__(self) -> None:
        _require_choice("pool", self.pool, POOLS)
        _require_choice("dtype", self.dtype, DTYPES)
        _require_choice("baselines", self.baselines, BASELINES)
        _require(
            self.max_length is None or self.max_length > 0,
            f"max_length={self.max_length} must be positive",
        )


# `book`: LLMs-from-scratch ch06/01_main-chapter-code/gpt_class_finetune.py.
FINETUNE_PRESETS: Mapping[str, FinetuneConfig] = types.MappingProxyType(
    {
        "default": FinetuneConfig(),
        "book": FinetuneConfig(
            data=DataConfig(
                source="sms-spam", book=True, group=False, balance="undersample"
            ),
            train=TrainConfig(learning_rate=5e-5, schedule="constant"),
            pool="last",
        ),
    }
)


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Where a run is served, to whom, and how much of it at once."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    # That every client must send; None: none. Never in a log or a traceback.
    token: str | None = dataclasses.field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()  # names to answer to, beside `host`, localhost
    max_body: int = 65536  # bytes of a request
    max_queue: int = 1024  # texts that wait for the device
    max_wait: float = 0.002  # seconds that a text waits for others, if there were any
    batch_tokens: int = 256  # of a batch of several texts, padding included
    timeout: float = 30.0  # seconds until a request is given up
    read_timeout: float = 10.0  # seconds that a client may take to send one

    def __post_init__(self) -> None:
        _require_finite(self)
        _require(0 <= self.port < 65536, f"port={self.port} is not in 0 to 65535")
        _require(
            self.token is None or re.fullmatch("[!-~]+", self.token) is not None,
            "the token must be printable ASCII without spaces",
        )
        _require(
            self.max_queue >= 256,  # two of the largest requests, or one explanation
            f"max_queue={self.max_queue} must be at least 256",
        )
        for field in ("max_body", "timeout", "read_timeout"):
            value = getattr(self, field)
            _require(value > 0, f"{field}={value} must be positive")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: Any, where: str = "config") -> Any:
    """Build the dataclass `cls` from JSON types.

    Raises:
        ValueError: an unknown key, or a value of the wrong type; both name the key.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {type(values).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(unknown)}; known: {', '.join(hints)}"
        )
    return cls(
        **{
            key: _typed(hints[key], value, f"{where}.{key}")
            for key, value in values.items()
        }
    )


def _typed(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: expected a list, got {reprlib.repr(value)}")
        item = typing.get_args(hint)[0]
        return tuple(_typed(item, element, where) for element in value)
    allowed = typing.get_args(hint) or (hint,)
    if float in allowed and type(value) is int:
        value = float(value)
    # type() rather than isinstance(): JSON's true is not a number of epochs.
    if type(value) not in allowed:
        names = " or ".join(getattr(t, "__name__", str(t)) for t in allowed)
        raise ValueError(f"{where}: expected {names}, got {reprlib.repr(value)}")
    return value
