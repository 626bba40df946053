"""Numbers that overflow, and classes that are not there."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import TINY, random_params, write_hugging_face
from training_helpers import (
    ON_DISK,
    losses,
    run_config,
    start_with_sgd,
)

from gpt2_jax.checkpoints.manifest import read_manifest
from gpt2_jax.config import DataConfig, GPT2Config, ServeConfig, TrainConfig
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.steps import train_step
from gpt2_jax.errors import NonFiniteError
from gpt2_jax.evaluation.calibration import describe_calibration, fit_temperature
from gpt2_jax.evaluation.curves import operating_points
from gpt2_jax.evaluation.decision import choose_threshold
from gpt2_jax.evaluation.metrics import evaluate_probabilities, softmax
from gpt2_jax.model.tree import flatten
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.milestones import Milestones


def _strict(path: Path) -> None:
    """JSON has no NaN and no infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path}: {name}")

    for line in path.read_text("utf-8").splitlines():
        json.loads(line, parse_constant=refuse)


def _stops(config, workdir: Path, match: str) -> tuple[str, dict]:
    """Return what a run that diverges says, and its diagnostics."""
    with pytest.raises(NonFiniteError, match=match) as caught:
        finetune(config, workdir)
    message = str(caught.value)
    assert caught.value.exit_code == 5 and "\n" not in message
    assert all(math.isfinite(loss) for _, loss in losses(workdir))
    _strict(workdir / "metrics.jsonl")
    assert not (workdir / "results.json").exists()
    assert not (workdir / "model").exists()
    path = workdir / "diagnostics.json"
    return message, json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.slow
@pytest.mark.fault(19)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_learning_rate_of_1e3_stops_the_run(dtype, tmp_path, tmp_path_factory):
    """It stops with the last good state, the step and the leaf."""
    config = run_config(
        tmp_path_factory,
        learning_rate=1e3,
        save_every=2,
        eval_every=100,
    )
    config = dataclasses.replace(config, dtype=dtype)
    message, _ = _stops(config, tmp_path / "run", r"step \d+: ")
    assert "--learning-rate" in message
    for folder in (tmp_path / "run" / "checkpoints").iterdir():
        assert read_manifest(folder) is not None


@pytest.mark.slow
@pytest.mark.fault(19)
def test_weights_that_overflow_before_any_step_are_said_to(tmp_path, tmp_path_factory):
    """A lower learning rate would not help."""
    params = jax.tree.map(lambda leaf: leaf * 1e18, random_params(ON_DISK))
    folder = write_hugging_face(tmp_path / "weights", ON_DISK, params)
    config = run_config(tmp_path_factory, epochs=1)
    config = dataclasses.replace(config, weights=str(folder), dtype="bfloat16")
    message, diagnostics = _stops(config, tmp_path / "run", "step 1: the loss is nan; ")
    assert "the weights themselves overflow" in message
    assert "first leaf with NaN or infinity: " in message
    assert "no step is saved yet" in message and diagnostics["step"] == 1


@pytest.mark.slow
@pytest.mark.fault(19)
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_loss_that_only_an_evaluation_sees_ends_the_run(
    part, tmp_path, tmp_path_factory, monkeypatch
):
    """Finite parameters can overflow on texts that no step has seen."""
    scores = Engine.scores

    def spoiled(engine, logits, rows):
        found = scores(engine, logits, rows)
        ours = np.isin(rows, engine.texts.parts[part]).all()
        return {**found, "loss": math.inf} if ours else found

    monkeypatch.setattr(Engine, "scores", spoiled)
    # training texts are looked at on the way, all of validation after the epoch
    every, step = (50, 1) if part == "train" else (1000, 5)
    if part == "validation":
        monkeypatch.setattr(Milestones, "_evaluate", lambda *_: None)
    match = f"step {step}: the {part} loss is inf; first leaf .*: none; no step is "
    config = run_config(tmp_path_factory, epochs=1, eval_every=every)
    message, diagnostics = _stops(config, tmp_path / "run", match)
    assert "--learning-rate" in message and diagnostics["nonfinite_leaves"] == {}


_EQUAL = np.zeros((40, 2), np.float32)
_LABELS = np.arange(40) % 2


def test_equal_logits_have_finite_and_neutral_metrics():
    for logits in (_EQUAL, _EQUAL + 1e30, _EQUAL - 7):
        temperature = fit_temperature(logits, _LABELS)
        assert math.isfinite(temperature) and temperature > 0
        probabilities = softmax(logits / temperature)
        np.testing.assert_allclose(probabilities, 0.5)
        found = evaluate_probabilities(probabilities, _LABELS, ("a", "b"))
        assert found["roc_auc"] == 0.5 and found["brier"] == 0.25
        assert found["confusion"] == [[20, 0], [20, 0]]  # a tie goes to the first
        json.dumps(found, allow_nan=False)
        parts = {"validation": logits, "test": logits}
        labels = dict.fromkeys(parts, _LABELS)
        calibration = describe_calibration(parts, labels, temperature)
        json.dumps(calibration, allow_nan=False)
        choice, nearest = choose_threshold(
            probabilities[:, 1], _LABELS == 1, precision=0.9
        )
        assert choice is None and nearest.precision == 0.5
        assert len(operating_points(probabilities[:, 1], _LABELS == 1)[0]) == 1


def test_a_part_without_a_class_has_finite_metrics():
    labels = np.zeros(8, np.int64)
    probabilities = softmax(np.linspace(-3, 3, 24).reshape(8, 3))
    found = evaluate_probabilities(probabilities, labels, ("a", "b", "c"))
    assert found["roc_auc"] is None and found["per_class"]["b"]["recall"] == 0.0
    json.dumps(found, allow_nan=False)


def test_a_batch_without_a_class_trains_in_finite_numbers():
    model, _, labels, state = start_with_sgd("head", "last_real", depth=3)
    hidden = np.random.default_rng(0).normal(size=(4, 8, TINY.embed_dim))
    batch = {
        "features": hidden.astype(np.float32),
        "lengths": np.asarray([1, 8, 3, 5], np.int32),
        "labels": np.zeros(4, np.int32),
        "loss_weights": np.asarray(
            [0.3, 0.3, 0.3, 0.0], np.float32
        ),  # and a padded row
    }
    key = jax.random.key(0)
    step = functools.partial(train_step, model=model, param_labels=labels, depth=3)
    state, loss = jax.jit(step)(state, batch, key)
    assert math.isfinite(float(loss)) and float(loss) > 0
    for name, leaf in flatten(state.params).items():
        assert np.isfinite(leaf).all(), name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_settings_are_finite(value):
    for make in (
        lambda: TrainConfig(learning_rate=value),
        lambda: TrainConfig(weight_decay=value),
        lambda: TrainConfig(clip_norm=value),
        lambda: TrainConfig(lora_alpha=value),
        lambda: GPT2Config(lora_alpha=value),
        lambda: DataConfig(split=(value, 0.1, 0.2)),
        lambda: ServeConfig(timeout=value),
    ):
        with pytest.raises(ValueError, match="must be finite"):
            make()


def test_numbers_that_nothing_can_count_are_refused():
    for make in (
        lambda: TrainConfig(seed=2**32),
        lambda: DataConfig(split_seed=-1),
        lambda: GPT2Config(vocab_size=2**31),
        lambda: GPT2Config(max_len=10**30),
    ):
        with pytest.raises(ValueError, match=r"2\*\*3"):
            make()
