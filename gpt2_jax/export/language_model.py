"""Language-model weights from any format that we read into one that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.config import GPT2Config, LayoutConfig
from gpt2_jax.errors import WeightsError
from gpt2_jax.export import hugging_face, llms_from_scratch
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params, flatten
from gpt2_jax.storage.atomic import creating
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights import orbax_folder
from gpt2_jax.weights.pretrained import Pretrained, read_pretrained

TOLERANCE = 1e-5  # of a probability

LOGIT_TOLERANCE = 1e-4


_PROBES, _PROBE_LENGTH = 4, 16


_UNSAID = LayoutConfig()


def convert_weights(
    source: str | Path,
    destination: Path,
    to: str,
    *,
    layout: LayoutConfig = _UNSAID,
    offline: bool = False,
) -> list[str]:
    """Write the weights of `source` at `destination`; return what was checked.

    What was written is read back before it stands at `destination`: every parameter
    must be the same, bit for bit, and so must the probabilities of the next token.

    Raises:
        UserError: something is at `destination`, or it cannot be written.
        WeightsError: `source` cannot be had or read, or the check failed.
    """
    if to == "llms-from-scratch":
        llms_from_scratch.check_suffix(destination)
    with creating(destination) as path:
        found = read_pretrained(source, offline=offline, **vars(layout))
        if found.config.num_classes is not None:
            raise WeightsError(f"{source}: a classifier; gpt2-jax export is for these")
        return write_checked(path, found, to)


def write_checked(path: Path, model: Pretrained, to: str) -> list[str]:
    """Write a language model at `path`, read it back, and return what was checked.

    Raises:
        WeightsError: what was read back is not what was written.
    """
    config, params, own = model.config, model.params, model.tokenizer
    if to == "hf":
        hugging_face.write_language_model(path, config, params, own)
    elif to == "llms-from-scratch":
        llms_from_scratch.check_tokenizer(own)
        llms_from_scratch.write_file(path, config, params)
    else:
        orbax_folder.write(path, config, params, own)
    again = read_pretrained(path, num_heads=config.num_heads)
    written, read = again.config, again.params
    if to != "llms-from-scratch":
        check_tokenizer(own, again.tokenizer)
    if written != config:
        raise WeightsError(f"nothing written: read back, {config} was {written}")
    return [
        check_parameters(params, read),
        check_probabilities(
            _next_tokens(config, params),
            _next_tokens(written, read),
            f"next tokens after {_PROBES * _PROBE_LENGTH} probes",
        ),
    ]


def check_tokenizer(expected: Tokenizer | None, got: Tokenizer | None) -> None:
    """Refuse where another tokenizer was read back.

    Raises:
        WeightsError: it is another one.
    """
    if (expected and expected.sha256) != (got and got.sha256):
        raise WeightsError("nothing written: read back, it had another tokenizer")


def check_parameters(
    expected: Params, got: Params, *, but: tuple[str, ...] = ()
) -> str:
    """Say that all parameters, those of `but` left out, are bit-equal.

    Raises:
        WeightsError: some are not.
    """
    ours, theirs = flatten(expected), flatten(got)
    nothing = np.empty(0)
    wrong = [
        path
        for path in sorted({*ours, *theirs} - {*but})
        if _bits(ours.get(path, nothing)) != _bits(theirs.get(path, nothing))
    ]
    if wrong:
        raise WeightsError(
            f"nothing written: read back, other values were in {', '.join(wrong)}"
        )
    return f"read back: {len({*ours} - {*but})} parameters bit-equal"


def check_probabilities(expected: np.ndarray, got: np.ndarray, what: str) -> str:
    """Say how far the probabilities of what was read back are from ours.

    Raises:
        WeightsError: too far.
    """
    difference = float(np.abs(expected - got).max())
    if not difference <= TOLERANCE:  # nan is too far
        raise WeightsError(
            f"nothing written: read back, it gave other probabilities: {what}, largest "
            f"difference {difference:.1e}, allowed {TOLERANCE:.0e}"
        )
    return f"read back: {what}, largest difference of a probability {difference:.1e}"


def check_logits(expected: np.ndarray, got: np.ndarray) -> str:
    """Say how far the logits of what was read back are from ours.

    Raises:
        WeightsError: too far.
    """
    difference = float(np.abs(expected - got).max())
    if not difference <= LOGIT_TOLERANCE:
        raise WeightsError(
            f"nothing written: read back, it gave other logits: largest difference "
            f"{difference:.1e}, allowed {LOGIT_TOLERANCE:.0e}"
        )
    return f"read back: largest difference of a logit {difference:.1e}"


def _bits(leaf: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return leaf.shape, np.asarray(leaf, np.float32).tobytes()


def _next_tokens(config: GPT2Config, params: Params) -> np.ndarray:
    """Return the probabilities of the next token after some tokens of all sizes."""
    length = min(_PROBE_LENGTH, config.max_len)
    tokens = np.arange(_PROBES * length).reshape(_PROBES, length) * 7919
    logits: Any = GPT2(config).apply(
        {"params": params}, jnp.asarray(tokens % config.vocab_size, jnp.int32)
    )
    return np.asarray(jax.nn.softmax(logits))
