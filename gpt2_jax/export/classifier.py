"""A trained classifier for other tools: transformers, the book, ONNX, StableHLO."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from gpt2_jax.config import ForeignConfig
from gpt2_jax.engine.forward import predict_step
from gpt2_jax.engine.texts import pad
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.export import (
    hugging_face,
    llms_from_scratch,
    onnx_file,
    own_texts,
    stablehlo,
)
from gpt2_jax.export.language_model import (
    check_logits,
    check_parameters,
    check_probabilities,
)
from gpt2_jax.export.tokenizer_files import check_written
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.atomic import creating
from gpt2_jax.weights import files
from gpt2_jax.weights.convert import convert_state_dict
from gpt2_jax.weights.foreign import read_classifier
from gpt2_jax.weights.trained import TrainedModel

Batch = dict[str, np.ndarray]


# Short and long, of all kinds of characters, and what tokenizers treat differently.
PROBES = (
    "Hello",
    "WINNER!! Claim your free prize now, call 09061701461.",
    "Are we still on for lunch tomorrow?",
    "naïve 東京 🎉\n\ttabs  and   spaces ",
    "<|endoftext|> is plain text here",
    "a long one, " * 400,
    "",
)


# The pool that each tool has, and how it reads.
_READS = {
    "hf": ("last_real", "GPT2ForSequenceClassification reads the last token of a text"),
    "llms-from-scratch": (
        "last",
        "classify_review reads the last of max_length tokens",
    ),
}


_UNSAID = ForeignConfig()


def export_run(
    run: Path,
    destination: Path,
    to: str,
    *,
    without_lexical: bool = False,
    quantize: str | None = None,
    how: ForeignConfig = _UNSAID,
    offline: bool = False,
) -> list[str]:
    """Write the classifier of `run` at `destination`; return what was checked.

    `without_lexical` leaves the lexical part of the classifier out. `how` and `offline`
    are for the classifier of another program: see `read_classifier`.

    Other tools compute in float32, so this is what they are given. What was written is
    read back before it stands at `destination`: it must give our probabilities. What is
    then made "int8" by `quantize` does not, and it is told how many labels stay.

    Raises:
        UserError: the format cannot express the classifier, or `destination` cannot be
            written.
        DeviceError: a package that the format needs is not installed.
        WeightsError: the run cannot be read, or the check failed.
    """
    if quantize is not None and to != "onnx":
        raise UserError(f"--quantize {quantize} is for --format onnx; omit it")
    if to == "onnx":
        onnx_file.check_installed()
    trained = read_classifier(run, how, offline=offline)
    if without_lexical:
        trained = trained.alone()
    _refuse_inexpressible(trained, to)
    if to == "llms-from-scratch":
        llms_from_scratch.check_suffix(destination)
        llms_from_scratch.check_tokenizer(trained.tokenizer)
    told, trained = trained, fold_temperature(trained)
    # Rounded matmuls would differ by more than the checks allow.
    exact = {"dtype": "float32", "precision": "highest"}
    config = dataclasses.replace(trained.config, **exact)
    plain = dataclasses.replace(trained, config=config)
    batch, step, checked = _probes(trained), _step(plain), []
    with creating(destination) as path:
        if to == "stablehlo":
            stablehlo.write(path, plain)
            got = stablehlo.read(path)(batch["tokens"], batch["lengths"])
        elif to == "onnx":
            onnx_file.write(path, plain)
            got = onnx_file.read(path)(batch["tokens"], batch["lengths"])
            checked = [check_logits(step(plain.params, batch), got)]
        else:
            card = run / "MODEL_CARD.md"
            told_of = card.read_text("utf-8") if card.is_file() else None
            read, but = _write_parameters(path, plain, to, told_of)
            checked = [check_parameters(plain.params, read, but=but)]
            got = step(read, batch)
        if to != "llms-from-scratch" and not plain.tokenizer.is_gpt2s:
            check_written(path, plain.tokenizer, PROBES)
        expected = softmax(step(plain.params, batch))
        what = f"{len(PROBES)} probe texts"
        checked.append(check_probabilities(expected, softmax(np.asarray(got)), what))
        if to == "onnx" and quantize is not None:
            whole = onnx_file.read(path)
            onnx_file.quantize(path)
            small = onnx_file.read(path)
            checked += own_texts.compare_labels(run, plain, whole, small, quantize)
    if trained.config.dtype != "float32":
        own = softmax(_step(trained)(trained.params, batch))
        checked.append(
            f"it computes in float32: the probabilities of the run in "
            f"{trained.config.dtype} differ by up to {np.abs(own - expected).max():.1e}"
        )
    return checked + _said(told)


def fold_temperature(trained: TrainedModel) -> TrainedModel:
    """Put the temperature into the head: its softmax alone is calibrated then."""
    head = {
        name: (leaf / trained.temperature).astype(leaf.dtype)
        for name, leaf in trained.params["out_head"].items()
    }
    params = {**trained.params, "out_head": head}
    return dataclasses.replace(trained, params=params, temperature=1.0)


def _said(trained: TrainedModel) -> list[str]:
    """Return what of the run's decisions is in the export, and what is not."""
    said = []
    if trained.long != "cut":
        said.append(
            f"not in it: how a text of more than {trained.max_length} tokens is read "
            f"(--long {trained.long}); it reads {trained.max_length} at once: give it "
            "the pieces, and take the mean of their logits"
        )
    if trained.temperature != 1.0:
        said.append(
            f"the temperature {trained.temperature:.4f} is in the head: its softmax "
            "gives the calibrated probabilities of the run"
        )
    if trained.threshold is not None:
        said.append(
            f"not in it: {trained.threshold.positive!r} from a probability of "
            f"{trained.threshold.value:.6f} on; apply this threshold yourself"
        )
    return said


def _probes(trained: TrainedModel) -> Batch:
    own = trained.tokenizer
    encoded = [own.encode(text) for text in PROBES]
    width = trained.max_length
    if not POOLS[trained.config.pool].reads_padding:
        width = min(width, max(map(len, encoded)))
    lengths = [min(len(ids), width) for ids in encoded]
    return {
        "tokens": pad(encoded, width, own.end_id),
        "lengths": np.asarray(lengths, np.int32),
    }


def _step(trained: TrainedModel) -> Callable[[Params, Batch], np.ndarray]:
    """Return what `Classifier` computes logits with."""
    step = jax.jit(functools.partial(predict_step, model=GPT2(trained.config)))
    return lambda params, batch: np.asarray(step(params, batch))


def _refuse_inexpressible(trained: TrainedModel, to: str) -> None:
    if trained.lexical is not None:
        raise UserError(
            f"--format {to} cannot express the lexical part of this classifier; "
            "--without-lexical exports the model alone, calibrated as such"
        )
    if to not in _READS:
        return
    (pool, how), config = _READS[to], trained.config
    if config.pool != pool:
        raise UserError(
            f"--format {to} cannot express the pool {config.pool}: {how} ({pool}); use "
            f"--format stablehlo, or train with --pool {pool}"
        )
    if not config.causal:
        raise UserError(
            f"--format {to} cannot express attention without the causal mask; use "
            "--format stablehlo"
        )


def _write_parameters(
    path: Path, trained: TrainedModel, to: str, card: str | None
) -> tuple[Params, tuple[str, ...]]:
    """Write the file or folder; return it read back, and the paths that may differ."""
    if to == "hf":
        hugging_face.write_classifier(path, trained, card)
        read = hugging_face.read_classifier(path, trained.config)
        return read, hugging_face.FOLDED
    llms_from_scratch.write_file(path, trained.config, trained.params)
    return convert_state_dict(files.read_state_dict(path), trained.config), ()
