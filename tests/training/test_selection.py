"""The best step on validation, and early stopping."""

from __future__ import annotations

import pytest
from training_helpers import run_config

from gpt2_jax.config import TrainConfig
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.selection import is_exhausted, score
from gpt2_jax.workdir.metrics_log import MetricsLog

_PLAIN = {"loss": 0.5, "accuracy": 0.8, "f1": 0.7}


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("accuracy", {"loss": 9.0, "accuracy": 0.81, "f1": 0.1}),
        ("loss", {"loss": 0.4, "accuracy": 0.1, "f1": 0.1}),
        ("f1", {"loss": 9.0, "accuracy": 0.1, "f1": 0.71}),
    ],
)
def test_each_metric_decides_by_itself_and_the_loss_between_equals(metric, better):
    assert score(better, metric, 100) > score(_PLAIN, metric, 100)
    assert score({**_PLAIN, "loss": 0.49}, metric, 100) > score(_PLAIN, metric, 100)


def _history(*accuracies: float) -> list[dict]:
    lines: list[dict] = [{"step": 1, "loss": 0.1}]  # not of an epoch
    for epoch, accuracy in enumerate(accuracies, start=1):
        values = {"loss": 1.0, "accuracy": accuracy, "f1": accuracy}
        lines.append(
            {"epoch": epoch, **{f"validation_{k}": v for k, v in values.items()}}
        )
    return lines


@pytest.mark.parametrize(
    ("accuracies", "exhausted"),
    [
        ([], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.4], True),
        ([0.5, 0.4, 0.6], False),
        ([0.5, 0.5, 0.5], True),  # as good is not better
        ([0.5, 0.6, 0.4, 0.6], True),
        ([0.5, 0.4, 0.5, 0.6], False),
    ],
)
def test_patience_counts_the_epochs_since_the_best(accuracies, exhausted):
    config = TrainConfig(patience=2)
    assert is_exhausted(_history(*accuracies), config, 100) == exhausted
    assert not is_exhausted(_history(*accuracies), TrainConfig(), 100)


@pytest.mark.slow
def test_a_run_that_does_not_get_better_stops(tmp_path_factory, tmp_path):
    # Such steps change nothing in float32: no epoch is better than the first.
    config = run_config(tmp_path_factory, epochs=4, patience=1, learning_rate=1e-30)
    results = finetune(config, tmp_path / "run")
    history = MetricsLog(tmp_path / "run" / "metrics.jsonl").read()
    assert [line["epoch"] for line in history if "epoch" in line] == [1, 2]
    assert results["steps"] == 10
    # so that resuming it would not go on
    assert is_exhausted(history, config.train, results["data"]["used"]["validation"])
