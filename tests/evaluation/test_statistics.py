"""Means over runs, their intervals, and tests of two sets of answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gpt2_jax.evaluation.statistics import (
    Answers,
    difference,
    mcnemar,
    mean_score,
    resampled,
    shares_of_best,
    summarize,
)


def _answers(right: np.ndarray) -> Answers:
    """Return answers to texts of class 0, some of them right."""
    return Answers(np.zeros(len(right), int), np.stack([right, ~right], -1) * 0.8 + 0.1)


def test_an_interval_of_percents_stays_within_them():
    for values in ([100, 100, 97], [0, 0, 1], [0, 100], [99.9, 100, 100, 100]):
        found = summarize(values, percent=True)
        assert found.low is not None and found.high is not None
        assert 0 <= found.low <= found.mean <= found.high <= 100
    t = summarize([100, 100, 97])
    assert t.high is not None and t.high > 100  # Student's t knows no bound


def test_far_from_the_bounds_it_is_students_t():
    values = [50.1, 49.3, 50.9, 51.2, 48.8, 50.4]
    beta, t = summarize(values, percent=True), summarize(values)
    low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert (t.low, t.high) == pytest.approx((low, high))
    assert (beta.low, beta.high) == pytest.approx((low, high), abs=0.02)


def test_few_runs_say_so_and_one_has_no_interval():
    assert "only 3 runs" in summarize([90, 91, 92], percent=True).interval
    assert "only" not in summarize([90, 91, 92, 93, 94], percent=True).interval
    assert summarize([90]).interval == "" and str(summarize([90])) == "90.00"


def test_resamples_spread_as_the_mean_of_seeds_and_texts_does():
    random = np.random.default_rng(1)
    runs = [_answers(random.random(400) < 0.8) for _ in range(10)]
    drawn = resampled([runs])[:, 0]
    assert drawn.mean() == pytest.approx(mean_score(runs, "accuracy"), abs=0.3)
    # 4000 answers that have nothing to do with each other
    expected = 100 * np.sqrt(0.8 * 0.2 / 4000)
    assert expected < drawn.std() < 3 * expected


def test_equal_settings_are_told_apart_by_no_resample():
    random = np.random.default_rng(2)
    runs = [_answers(random.random(50) < 0.7) for _ in range(3)]
    drawn = resampled([runs, runs])
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert shares_of_best(drawn) == pytest.approx([0.5, 0.5])
    found = difference(drawn[:, 0], drawn[:, 1], 0.0)
    assert (found.low, found.high, found.ahead) == (0, 0, 0.5)


def test_a_setting_that_is_right_more_often_is_ahead():
    right = np.arange(200) % 10 > 0
    worse, better = [_answers(right & (np.arange(200) > 20))] * 4, [_answers(right)] * 4
    drawn = resampled([worse, better])
    found = difference(drawn[:, 1], drawn[:, 0], 9.0)
    assert 0 < found.low < 9 < found.high and found.ahead > 0.99
    assert shares_of_best(drawn)[1] > 0.99


@pytest.mark.parametrize("metric", ["accuracy", "f1", "loss"])
def test_the_mean_score_is_that_of_the_texts(metric):
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    random = np.random.default_rng(3)
    labels, p = random.integers(0, 3, 90), random.dirichlet([1, 1, 1], 90)
    expected = {
        "accuracy": 100 * accuracy_score(labels, p.argmax(-1)),
        "f1": 100 * f1_score(labels, p.argmax(-1), average="macro"),
        "loss": -log_loss(labels, p, labels=[0, 1, 2]),
    }[metric]
    assert mean_score([Answers(labels, p)], metric) == pytest.approx(expected)


def test_mcnemar_counts_only_texts_on_which_one_alone_is_right():
    one = np.asarray([1, 1, 1, 1, 1, 1, 0, 0, 1], bool)
    other = np.asarray([0, 0, 0, 0, 0, 0, 0, 1, 1], bool)
    found = mcnemar(one, other)
    assert (found["only_first"], found["only_second"]) == (6, 1)
    assert found["p"] == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(one, one)["p"] == 1.0
