"""Temperature scaling: one number that makes probabilities mean what they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpt2_jax.evaluation.metrics import (
    cross_entropy,
    expected_calibration_error,
    softmax,
)

BOUNDS = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the T that makes softmax(logits / T) likeliest (Guo et al. 2017, 4.2).

    The likelihood is that of the validation part, and no label changes. Where every
    text is right, the best T would be 0 and every answer certain: then it is 1.
    """
    from scipy.optimize import minimize_scalar

    if (logits.argmax(-1) == labels).all():
        return 1.0
    low, high = map(math.log, BOUNDS)
    # The mean loss is convex in 1 / T, so it has one minimum in log T too.
    found = minimize_scalar(
        lambda log_t: cross_entropy(logits / math.exp(log_t), labels),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return math.exp(found.x)


def describe_calibration(
    logits: dict[str, np.ndarray], labels: dict[str, np.ndarray], temperature: float
) -> dict[str, Any]:
    """Return the `calibration` entry of results.json: each part before and after.

    On few validation texts the fit is rough, and can worsen the test part.
    """

    def both(part: str) -> dict[str, float]:
        values = {}
        for when, t in (("before", 1.0), ("after", temperature)):
            scaled = logits[part] / t
            ece = expected_calibration_error(softmax(scaled), labels[part])
            values[f"ece_{when}"] = ece
            values[f"loss_{when}"] = cross_entropy(scaled, labels[part])
        return values

    return {
        "temperature": temperature,
        "fitted_on": len(labels["validation"]),
        "validation": both("validation"),
        "test": both("test"),
    }
