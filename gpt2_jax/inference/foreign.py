"""A classifier that another program trained, as one of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax.errors import WeightsError
from gpt2_jax.model.pools import POOLS
from gpt2_jax.weights.pretrained import Pretrained, read_pretrained
from gpt2_jax.weights.trained import TrainedModel


def read_foreign(
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    max_length: int | None = None,
    pool: str | None = None,
    num_heads: int | None = None,
    naming: str | None = None,
) -> TrainedModel:
    """Read a classifier of Hugging Face or LLMs-from-scratch.

    The arguments are those of `Classifier.from_weights`.

    Raises:
        WeightsError: no such classifier, or something that it does not tell is not
            given.
    """
    found = read_pretrained(path, num_heads=num_heads, naming=naming)
    config, limit = found.config, found.config.max_len
    if config.num_classes is None:
        raise WeightsError(f"{path}: no classifier; gpt2-jax finetune makes one")
    if found.problem_type not in (None, "single_label_classification"):
        raise WeightsError(
            f"{path}: problem_type={found.problem_type!r} of its config.json is not "
            "supported: only classifiers that give each text one of several labels are"
        )
    names = tuple(classes or found.classes or ())
    if len(names) != config.num_classes:
        raise WeightsError(
            f"{path}: {config.num_classes} logits, but {len(names)} class names; "
            "give classes=(...)"
        )
    config = dataclasses.replace(config, pool=pool or config.pool)
    max_length = max_length or found.max_length
    if max_length is None and POOLS[config.pool].reads_padding:
        raise WeightsError(
            f"{path}: the pool last reads padding; give max_length, the tokens "
            "that texts were padded to in training, or another pool"
        )
    if not 1 <= (max_length or limit) <= limit:
        raise WeightsError(f"{path}: max_length={max_length} is not in 1..{limit}")
    if found.tokenizer is None:
        raise WeightsError(
            f"{path}: a vocabulary of {config.vocab_size} tokens, and no tokenizer for "
            "it; lay its vocab.json and merges.txt beside the weights"
        )
    _refuse_padding(path, found)
    return TrainedModel(
        config,
        found.params,
        names,
        max_length or limit,
        tokenizer=found.tokenizer,
    )


def _refuse_padding(path: str | Path, found: Pretrained) -> None:
    """Refuse a padding that texts are written with: what ends in it is read before it.

    Raises:
        WeightsError: it is such a token.
    """
    own = found.tokenizer
    if own is not None and found.pad_id in set(own.tokens.values()):
        text = own.decode([found.pad_id])
        raise WeightsError(
            f"{path}: pad_token_id={found.pad_id} of its config.json is {text!r}, and "
            "of a text that ends so its model reads the token before; give it a "
            "pad_token_id that no text has"
        )
