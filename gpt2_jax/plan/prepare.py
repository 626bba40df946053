"""Everything that is decided before the first step: data, model, what trains."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.data.labels import positive_class
from gpt2_jax.data.sources import Dataset, load_dataset
from gpt2_jax.data.split import Split, split_dataset
from gpt2_jax.engine.param_labels import frozen_split, label_params
from gpt2_jax.engine.texts import Examples, encode_examples, widen
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.lora import add_adapters
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.leaves import hash_leaves
from gpt2_jax.storage.sealed import digest
from gpt2_jax.tokenizer import VOCAB_SIZE
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.random import PREFIX, untrained


def ids_sha256(rows: np.ndarray) -> str:
    """Return the hash of a set of row numbers, in their order."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def identify(prepared: Prepared) -> dict[str, Any]:
    """Return what the data and the model of a run are, by name."""
    dataset = prepared.dataset
    rows = {
        f"data.rows.{part}": ids_sha256(ids)
        for part, ids in prepared.split.parts().items()
    }
    leaves = hash_leaves(prepared.params)  # before training: the new head too
    return {
        "data.sha256": dataset.sha256,
        "data.classes": list(dataset.classes),
        **rows,
        "weights.sha256": digest(leaves),
    }


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run before its first step; all arrays are on the host."""

    config: FinetuneConfig
    dataset: Dataset
    split: Split
    examples: dict[str, Examples]  # train, validation, test
    model: GPT2
    params: Params
    labels: Params  # "train" or "freeze" for each leaf
    frozen_split: int  # of the model; nothing below it trains
    class_weights: np.ndarray  # float32 [C]
    positive: str | None  # the class of two whose precision is told

    @property
    def width(self) -> int:
        """Tokens that every text is padded to."""
        return self.examples["train"].tokens.shape[1]

    @property
    def max_length(self) -> int:
        """Tokens that a text to classify may have; what is longer is cut."""
        if self.config.pool == "last":
            return self.width
        limit = self.model.config.max_len
        return min(limit, self.config.max_length or limit)

    def texts(self, part: str) -> list[str]:
        return [self.dataset.texts[row] for row in self.split.parts()[part]]


def prepare(
    config: FinetuneConfig,
    *,
    offline: bool = False,
    classes: Sequence[str] | None = None,
) -> Prepared:
    """Load, split and encode the data; load the weights and replace the head.

    `offline` forbids the network; `classes` is their order in a run to be resumed.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
    """
    dataset = load_dataset(config.data, offline=offline, classes=classes)
    positive = positive_class(
        dataset.name, dataset.classes, dataset.labels, config.data.positive
    )
    split = split_dataset(dataset, config.data)
    if config.weights.startswith(PREFIX):
        gpt2_config, params = untrained(config.weights, config.train.seed)
    else:
        gpt2_config, params = load_pretrained(config.weights, offline=offline)
    if gpt2_config.vocab_size < VOCAB_SIZE:
        raise UserError(
            f"{config.weights}: a vocabulary of {gpt2_config.vocab_size} tokens, but "
            f"GPT-2's encoding has {VOCAB_SIZE}; use weights made with it"
        )
    examples = _encode(config, dataset, split, gpt2_config.max_len)
    if len(examples["train"]) < config.train.batch_size:
        raise DataError(
            f"{dataset.name}: {len(examples['train'])} training texts do not fill one "
            f"batch; choose --batch-size {len(examples['train'])} or less"
        )
    key = jax.random.key(config.train.seed)
    lora = "lora" in config.train.trainable
    model, params = to_classifier(
        gpt2_config,
        params,
        num_classes=len(dataset.classes),
        key=key,
        pool=config.pool,
        causal=config.causal,
        dtype=config.dtype,
        dropout_rate=config.train.dropout_rate,
        lora_rank=config.train.lora_rank if lora else 0,
        lora_alpha=config.train.lora_alpha,
    )
    if lora:
        params = add_adapters(params, model.config, jax.random.fold_in(key, 1))
    num_layers = model.config.num_layers
    try:
        labels = label_params(params, config.train.trainable, num_layers)
    except ValueError as error:
        raise UserError(f"--trainable: {error}") from None
    return Prepared(
        config=config,
        dataset=dataset,
        split=split,
        examples=examples,
        model=model,
        params=params,
        labels=labels,
        frozen_split=frozen_split(labels, num_layers),
        class_weights=_class_weights(config, examples["train"], dataset),
        positive=positive,
    )


def _encode(
    config: FinetuneConfig, dataset: Dataset, split: Split, limit: int
) -> dict[str, Examples]:
    """Encode the parts, all padded to one width.

    The pool `last` reads the padding, so its width must be known without the test
    texts: `max_length`, or the longest training text; longer ones are cut to it. The
    other pools never see the padding, so nothing is cut but at `limit`.
    """
    labels = np.asarray(dataset.labels)
    fixed = config.pool == "last"
    width = config.max_length if fixed else None
    limit = min(limit, config.max_length or limit)
    examples: dict[str, Examples] = {}
    for part, rows in split.parts().items():
        texts = [dataset.texts[row] for row in rows]
        examples[part] = encode_examples(
            texts, labels[rows], max_length=width, limit=limit
        )
        if fixed:
            width = examples[part].tokens.shape[1]
    widest = max(encoded.tokens.shape[1] for encoded in examples.values())
    return {part: widen(encoded, widest) for part, encoded in examples.items()}


def _class_weights(
    config: FinetuneConfig, train: Examples, dataset: Dataset
) -> np.ndarray:
    counts = np.bincount(train.labels, minlength=len(dataset.classes))
    if config.data.balance != "weights":
        return np.ones(len(counts), np.float32)
    return (len(train) / (len(counts) * counts)).astype(np.float32)
