"""What decides a pre-training run, and its command line."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from gpt2_jax.config import GPT2Config
from gpt2_jax.config.model import Dtype


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """The defaults are the recipe of the shipped base model; see README.md."""

    weights: str = ""  # pretrained ones to go on from, as --weights of gpt2-jax
    length: int = 1024  # tokens of a sequence
    positions: int = 0  # of the model; 0: as many as `length`
    embed_dim: int = 256
    num_layers: int = 12
    num_heads: int = 4
    dtype: Dtype = "bfloat16"  # of matmuls; params, norms, softmax and loss are float32
    batch_size: int = 128  # sequences of a step, over all devices
    accumulate: int = 1  # parts that each device takes its sequences in
    steps: int = 8127
    optimizer: str = "muon"
    learning_rate: float = 2e-3  # AdamW's, the highest
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.05
    warmup_steps: int = 300
    hold: float = 0.45  # share of the steps until the rate falls
    decay: str = "linear"  # to zero
    clip_norm: float = 1.0  # of the gradients of a step; 0: not clipped
    seed: int = 0
    log_every: int = 10
    validate_every: int = 500
    validation_windows: int = 512
    save_every: int = 1000

    def __post_init__(self) -> None:
        self.model  # its sizes are checked there  # noqa: B018
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is not one of {', '.join(choices)}")
        positive = ("batch_size", "accumulate", "steps", "log_every", "save_every")
        for field in (*positive, "validate_every", "validation_windows"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)} must be positive")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size={self.batch_size} is not divisible by accumulate="
                f"{self.accumulate}"
            )
        if self.positions and self.positions < self.length:
            raise ValueError(
                f"positions={self.positions} must not be below length={self.length}"
            )
        if not 0 <= self.warmup_steps <= self.steps or not 0 <= self.hold <= 1:
            raise ValueError("warmup_steps must be in [0, steps], hold in [0, 1]")

    @property
    def model(self) -> GPT2Config:
        return GPT2Config(
            max_len=self.positions or self.length,
            embed_dim=self.embed_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            dtype=self.dtype,
        )


CHOICES = {
    "optimizer": ("adamw", "muon"),
    "decay": ("cosine", "linear"),
    "dtype": ("float32", "bfloat16"),
}


def parse(doc: str | None, argv: list[str] | None) -> argparse.Namespace:
    """Parse the flags of `train`; `config` is in what is returned."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tokens", type=Path, help="what experiments.pretrain.shard made"
    )
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--devices", type=int, help="default: all")
    names = [field.name for field in dataclasses.fields(PretrainConfig)]
    for field in dataclasses.fields(PretrainConfig):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            choices=CHOICES.get(field.name),
        )
    arguments = parser.parse_args(argv)
    try:
        values = {name: getattr(arguments, name) for name in names}
        arguments.config = PretrainConfig(**values)
    except ValueError as error:
        parser.error(str(error))
    return arguments
