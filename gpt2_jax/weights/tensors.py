"""The tensors of a file, and what lies beside them -> a model."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from pathlib import Path

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.tree import Params
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights import book_lora
from gpt2_jax.weights.architecture import config_of, hint_of
from gpt2_jax.weights.arrays import DTYPES, FLOATS
from gpt2_jax.weights.convert import convert_state_dict, scale_queries
from gpt2_jax.weights.detect import COMPILED, StateDict, detect_naming, unwrap
from gpt2_jax.weights.files import Contents
from gpt2_jax.weights.formats import refuse_other_tensors
from gpt2_jax.weights.hugging_face_config import (
    attention_scale,
    labels_of,
    pad_id_of,
    problem_type_of,
    refuse_other_model,
)
from gpt2_jax.weights.naming import CLASSES, Naming
from gpt2_jax.weights.rules import FLAX, HUGGING_FACE

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A language model or a classifier, and what else the file tells of it."""

    config: GPT2Config
    params: Params
    classes: tuple[str, ...] | None = None
    max_length: int | None = None
    problem_type: str | None = None  # as a Hugging Face classifier's config.json has it
    tokenizer: Tokenizer | None = None  # None: there is none for this vocabulary
    naming: str | None = None  # of its tensors; None: it is no file of tensors
    pad_id: int | None = None  # what a Hugging Face classifier takes for padding


def convert(
    contents: Contents,
    path: Path,
    folder: Path,
    num_heads: int | None,
    naming: str | None,
    dtype: str,
) -> Pretrained:
    """Return the model that the tensors are; what is left out of it is logged.

    Args:
        contents: the tensors, and what stands beside them in the file.
        path: where they are from.
        folder: where a config.json may lie.
        num_heads, naming, dtype: as in `load_pretrained`.

    Raises:
        WeightsError: they are no GPT-2, or something does not tell which.
    """
    state, adapted = book_lora.merge(contents.tensors)
    if adapted:
        log.info(
            f"{path}: {len(adapted)} LoRA adapters of the book are merged with its "
            f"alpha={book_lora.ALPHA:g}; the file does not say its own"
        )
    refuse_other_model(path)
    refuse_other_tensors(state)
    state, wrapper, outside = unwrap(state)
    if wrapper not in ("", COMPILED):
        log.info(f"{path}: the tensors are read without the prefix {wrapper}")
    contents = dataclasses.replace(contents, tensors=state)
    hint = hint_of(contents, folder)
    named, prefix = detect_naming(state, naming=naming, hint=hint)
    heads = _heads(state, named)
    state = {name: value for name, value in state.items() if name not in heads}
    if dropped := [*heads, *outside]:
        log.info(f"{path}: no part of the trunk, and left out: {', '.join(dropped)}")
    contents = dataclasses.replace(contents, tensors=state)
    config = config_of(contents, named, prefix, folder, num_heads)
    params = convert_state_dict(state, config, (named, prefix), dtype=dtype)
    _say_types(path, state, dtype)
    found = Pretrained(config, params, naming=named.key)
    if named not in (HUGGING_FACE, FLAX):
        return found
    if scale := attention_scale(folder, config):
        log.info(f"{path}: its own scaling of attention goes into the queries")
        found = dataclasses.replace(found, params=scale_queries(params, scale))
    if config.num_classes is None:
        return found
    return dataclasses.replace(
        found,
        classes=labels_of(folder, config.num_classes),
        problem_type=problem_type_of(folder),
        pad_id=pad_id_of(folder),
    )


def _heads(state: StateDict, naming: Naming) -> list[str]:
    """Return the tensors of heads that no classifier of ours can have."""
    found = {name for name in state if re.fullmatch(naming.heads, name)}
    classifier = naming.classifier
    if classifier is not None and classifier in state and len(state[classifier]) == 1:
        found |= {  # one number: a reward, or a regression
            rule.tensor
            for rule in naming.expand(0, head=CLASSES)
            if rule.path.startswith("out_head/") and rule.tensor in state
        }
    return sorted(found)


def _say_types(path: Path, state: StateDict, dtype: str) -> None:
    others = Counter(
        str(value.dtype)
        for value in state.values()
        if value.dtype in FLOATS and value.dtype != DTYPES[dtype]
    )
    for other, count in others.items():
        log.info(f"{path}: {count} {other} tensors read as {dtype}")
