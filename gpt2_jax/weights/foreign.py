"""A classifier of ours, or one that another program trained as one of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gpt2_jax.config import ForeignConfig
from gpt2_jax.config.fields import flag_of, option_of
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.pools import POOLS
from gpt2_jax.storage.home import expanded
from gpt2_jax.weights.pretrained import Pretrained, read_pretrained
from gpt2_jax.weights.trained import TrainedModel, load_model, model_folder

_UNSAID = ForeignConfig()


def read_classifier(
    path: str | Path, how: ForeignConfig = _UNSAID, *, offline: bool = False
) -> TrainedModel:
    """Read the classifier of a run, of Hugging Face, or of LLMs-from-scratch.

    Args:
        path: a run of ours, or what `load_pretrained` reads.
        how: what the weights of another program do not say themselves.
        offline: forbid the network.

    Raises:
        WeightsError: no such classifier, something that it does not tell is not
            given, or something is given that a run tells itself.
    """
    if model_folder(expanded(path)) is None:
        return _read_foreign(path, how, offline=offline)
    given = [
        flag_of(field.name, option_of(field))
        for field in dataclasses.fields(how)
        if getattr(how, field.name) is not None
    ]
    if given:
        raise WeightsError(
            f"{path}: a run of gpt2-jax, which tells this itself; omit "
            f"{', '.join(given)}"
        )
    return load_model(expanded(path))


def _read_foreign(
    path: str | Path, how: ForeignConfig, *, offline: bool
) -> TrainedModel:
    found = read_pretrained(
        path,
        num_heads=how.num_heads,
        naming=how.naming,
        tokenizer=how.tokenizer,
        offline=offline,
    )
    config, limit = found.config, found.config.max_len
    if config.num_classes is None:
        raise WeightsError(f"{path}: no classifier; gpt2-jax finetune makes one")
    if found.problem_type not in (None, "single_label_classification"):
        raise WeightsError(
            f"{path}: problem_type={found.problem_type!r} of its config.json is not "
            "supported: only classifiers that give each text one of several labels are"
        )
    names = tuple(how.classes or found.classes or ())
    if len(names) != config.num_classes:
        raise WeightsError(
            f"{path}: {config.num_classes} logits, but {len(names)} class names; "
            "give classes=(...), or --class LABEL for each"
        )
    config = dataclasses.replace(config, pool=how.pool or config.pool)
    max_length = how.max_length or found.max_length
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
            "it; lay its vocab.json and merges.txt beside the weights, or give the "
            "tokenizer's folder"
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
