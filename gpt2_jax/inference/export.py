"""A trained classifier for other tools: transformers, the book's code, StableHLO."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gpt2_jax.data.batches import encode_examples, make_batch
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.inference import hugging_face, stablehlo
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.training.artifacts import TrainedModel, load_model
from gpt2_jax.tree import Params
from gpt2_jax.weights import files, llms_from_scratch
from gpt2_jax.weights.convert import convert_state_dict
from gpt2_jax.weights.export import check_parameters, check_probabilities
from gpt2_jax.weights.staging import staged

FORMATS = ("hf", "llms-from-scratch", "stablehlo")
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


def export_run(run: Path, destination: Path, to: str) -> list[str]:
    """Write the classifier of `run` at `destination`; return what was checked.

    Other tools compute in float32, so this is what they are given. What was written is
    read back before it stands at `destination`: it must give our probabilities.

    Raises:
        UserError: the format cannot express the classifier, or `destination` cannot be
            written.
        WeightsError: the run cannot be read, or the check failed.
    """
    trained = load_model(run)
    _refuse_inexpressible(trained, to)
    if to == "llms-from-scratch":
        llms_from_scratch.check_suffix(destination)
    config = dataclasses.replace(trained.config, dtype="float32")
    plain = dataclasses.replace(trained, config=config)
    expected = Classifier(plain).predict_proba(PROBES)
    with staged(destination) as path:
        if to == "stablehlo":
            stablehlo.write(path, plain)
            got, checked = _call(path, plain), []
        else:
            read, but = _write_parameters(path, plain, to)
            checked = [check_parameters(plain.params, read, but=but)]
            got = Classifier(dataclasses.replace(plain, params=read)).predict_proba(
                PROBES
            )
        checked.append(check_probabilities(expected, got, f"{len(PROBES)} probe texts"))
    if trained.config.dtype != "float32":
        own = Classifier(trained).predict_proba(PROBES)
        checked.append(
            f"float32; the run's own {trained.config.dtype} differs by up to "
            f"{np.abs(own - expected).max():.1e}"
        )
    return checked


def _refuse_inexpressible(trained: TrainedModel, to: str) -> None:
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
    path: Path, trained: TrainedModel, to: str
) -> tuple[Params, tuple[str, ...]]:
    """Write the file or folder; return it read back, and the paths that may differ."""
    if to == "hf":
        hugging_face.write_classifier(path, trained)
        read = hugging_face.read_classifier(path, trained.config)
        return read, hugging_face.FOLDED
    llms_from_scratch.write_file(path, trained.config, trained.params)
    return convert_state_dict(files.read_state_dict(path), trained.config), ()


def _call(folder: Path, trained: TrainedModel) -> np.ndarray:
    """Return the probabilities that the StableHLO artefact gives to the probes."""
    examples = encode_examples(
        PROBES,
        np.zeros(len(PROBES)),
        max_length=trained.max_length,
        limit=trained.config.max_len,
    )
    batch = make_batch(examples, np.arange(len(PROBES)), trim=False)
    call = stablehlo.read(folder)
    return softmax(np.asarray(call(batch["tokens"], batch["lengths"])))
