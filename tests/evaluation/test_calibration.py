"""One temperature, fitted on validation."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2_jax.evaluation.calibration import describe_calibration, fit_temperature
from gpt2_jax.evaluation.metrics import cross_entropy, softmax


def _logits(temperature: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are `temperature` times those the labels are drawn from."""
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (rows, 3))
    cumulative = softmax(honest).cumsum(-1)
    labels = (random.random((rows, 1)) > cumulative).sum(-1)
    return (temperature * honest).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    logits, labels = _logits(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


def test_no_temperature_nearby_is_likelier():
    logits, labels = _logits(3.0, rows=60)
    best = fit_temperature(logits, labels)
    loss = cross_entropy(logits / best, labels)
    for other in (0.9 * best, 0.99 * best, 1.01 * best, 1.1 * best):
        assert cross_entropy(logits / other, labels) > loss


def test_where_every_text_is_right_nothing_is_fitted():
    assert fit_temperature(5 * np.eye(3, dtype=np.float32), np.arange(3)) == 1.0


def test_before_and_after_are_told_of_both_parts_whatever_they_are():
    overconfident, labels = _logits(4.0)
    honest, others = _logits(1.0)
    temperature = fit_temperature(overconfident, labels)
    told = describe_calibration(
        {"validation": overconfident, "test": honest},
        {"validation": labels, "test": others},
        temperature,
    )
    assert told["temperature"] == temperature
    assert told["fitted_on"] == 4000
    assert told["validation"]["ece_after"] < told["validation"]["ece_before"] / 4
    assert told["validation"]["loss_after"] < told["validation"]["loss_before"]
    assert told["test"]["ece_after"] > told["test"]["ece_before"]  # and it is said
