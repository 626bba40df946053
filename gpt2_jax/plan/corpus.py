"""From a config to a `Corpus`: what a language model reads, and what measures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import AdaptConfig, GPT2Config
from gpt2_jax.data.parts import part_of
from gpt2_jax.data.sources import load_texts, source_name
from gpt2_jax.data.tables import Table
from gpt2_jax.engine.sequences import Sequences
from gpt2_jax.errors import DataError, UserError, WeightsError
from gpt2_jax.model.gpt2 import GPT2, count_params
from gpt2_jax.model.tree import Params
from gpt2_jax.plan.prepare import load_weights
from gpt2_jax.storage.leaves import hash_leaves
from gpt2_jax.storage.sealed import digest
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights.pretrained import Pretrained
from gpt2_jax.workdir.identity import PRETRAINED

LENGTH = 128  # tokens of a sequence, where none is named


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A language model, and its texts as sequences; all arrays are on the host."""

    config: AdaptConfig
    model: GPT2
    params: Params
    tokenizer: Tokenizer
    train: Sequences
    held_out: Sequences
    sha256: str  # of what was read
    told: tuple[str, ...]  # what was read and left out, line by line

    @property
    def steps_per_epoch(self) -> int:
        """At least one, be there ever so few sequences."""
        return max(len(self.train) // self.config.batch_size, 1)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def identity(self) -> dict[str, Any]:
        """Return what the data and the model are, by name."""
        return {
            "data.sha256": self.sha256,
            PRETRAINED: digest(hash_leaves(self.params)),
            "weights.tokenizer": self.tokenizer.sha256,
        }

    def pretrained(self, params: Params) -> Pretrained:
        """Return the language model with other `params`."""
        plain = {"dtype": GPT2Config.dtype, "precision": GPT2Config.precision}
        config = dataclasses.replace(self.model.config, **plain)
        return Pretrained(config, params, tokenizer=self.tokenizer)


def prepare_corpus(config: AdaptConfig, *, offline: bool = False) -> Corpus:
    """Load the texts and the weights; hold some texts out, and encode all.

    Each text counts once, and where it has several parts only the training part does.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
    """
    table, sha256 = load_texts(config.data, offline=offline)
    name = source_name(config.data)
    texts, told = distinct_texts(name, table)
    pretrained, tokenizer = load_weights(
        config.weights, config.layout, config.seed, offline=offline
    )
    if pretrained.config.num_classes is not None:
        raise WeightsError(
            f"{config.weights}: a classifier; give the language model that it was "
            "trained from"
        )
    positions = pretrained.config.max_len
    length = min(LENGTH, positions) if config.length is None else config.length
    if length > positions:
        raise UserError(
            f"--length {length}: {config.weights} has {positions} positions"
        )
    count = max(round(config.held_out * len(texts)), 1)
    order = np.random.default_rng(config.seed).permutation(len(texts)).tolist()
    parts = {"held out": order[:count], "trained on": order[count:]}
    cut = {}
    for part, rows in parts.items():
        cut[part] = _sequences([texts[row] for row in rows], tokenizer, length)
        tokens = len(cut[part].shards[0])
        told.append(
            f"data: {part}: {len(rows):,} texts, {tokens:,} tokens: {len(cut[part]):,} "
            f"sequences of {cut[part].length}"
        )
    told.append(
        f"model: {config.weights}: {count_params(pretrained.params):,} parameters, all "
        "trained"
    )
    return Corpus(
        config=config,
        model=GPT2(
            dataclasses.replace(
                pretrained.config, dtype=config.dtype, precision=config.precision
            )
        ),
        params=pretrained.params,
        tokenizer=tokenizer,
        train=cut["trained on"],
        held_out=cut["held out"],
        sha256=sha256,
        told=tuple(told),
    )


def distinct_texts(name: str, table: Table) -> tuple[list[str], list[str]]:
    """Return each text once, and in words what was read and left out.

    Raises:
        DataError: fewer than two are left.
    """
    found = list(table.texts)
    told = [f"data: {name}: {len(found):,} texts read"]
    if table.understood is not None:
        told += [f"data: {line}" for line in table.understood.lines()]
    told += [f"data: {note}" for note in table.notes]
    if table.parts is not None:
        found = [
            text
            for text, part in zip(found, table.parts, strict=True)
            if part_of(part) == "train"
        ]
        told.append(
            f"data: {len(table.texts) - len(found):,} left out, which are no part of "
            "the training"
        )
    texts = list(dict.fromkeys(text for text in found if text.strip()))
    if repeated := len(found) - len(texts):
        told.append(f"data: {repeated:,} left out: empty, or there already")
    if len(texts) < 2:
        raise DataError(
            f"{name}: {len(texts)} different texts to train on; one has to be held out "
            "to measure the loss, so give at least two"
        )
    return texts, told


def _sequences(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> Sequences:
    """Lay texts end to end, an end of text behind each; too few are one sequence."""
    ids = [i for text in texts for i in (*tokenizer.encode(text), tokenizer.end_id)]
    tokens = np.asarray(ids, np.int32)
    return Sequences((tokens,), min(length, len(tokens) - 1))
