"""Thresholds: the one that is chosen reaches what was asked, and no other does more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.evaluation.decision import choose_best_f1, choose_threshold, decide

_SCORES = np.array([0.9, 0.8, 0.8, 0.6, 0.5, 0.3])
_POSITIVE = np.array([True, True, False, True, False, True])


def test_without_a_threshold_the_likeliest_class_is_the_answer():
    rows = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert decide(rows).tolist() == [1, 0]


def test_with_one_its_class_is_the_answer_from_there_on_and_never_below():
    rows = np.array([[0.2, 0.5, 0.3], [0.1, 0.45, 0.45], [0.7, 0.2, 0.1]])
    assert decide(rows, (1, 0.5)).tolist() == [1, 2, 0]
    assert decide(rows, (2, 0.1)).tolist() == [2, 2, 2]
    assert decide(np.array([[0.1, 0.9]]), (1, 0.95)).tolist() == [0]


def test_the_most_recall_with_the_precision_is_chosen():
    found, _ = choose_threshold(_SCORES, _POSITIVE, precision=0.75)
    assert found is not None
    assert (found.precision, found.recall) == (0.75, 0.75)
    assert 0.5 < found.value < 0.6


def test_the_most_precision_with_the_recall_is_chosen():
    found, _ = choose_threshold(_SCORES, _POSITIVE, recall=0.5)
    assert found is not None
    assert (found.precision, found.recall) == (0.75, 0.75)
    found, _ = choose_threshold(_SCORES, _POSITIVE, recall=1.0)
    assert found is not None and found.value < 0.3


def test_what_cannot_be_reached_is_none_and_the_nearest_is_told():
    scores, positive = np.array([0.9, 0.8, 0.1]), np.array([False, True, False])
    found, nearest = choose_threshold(scores, positive, precision=0.9)
    assert found is None
    assert (nearest.precision, nearest.recall) == (0.5, 1.0)


@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2),
    target=st.floats(0.05, 1.0),
    by=st.sampled_from(["precision", "recall"]),
)
@settings(max_examples=60, deadline=None)
def test_no_threshold_does_better(rows, target, by):
    scores = np.array([score for score, _ in rows]) / 20
    positive = np.array([hit for _, hit in rows])
    found, _ = choose_threshold(scores, positive, **{by: target})

    def measured(value: float) -> tuple[float, float]:
        taken = scores >= value
        hits = (taken & positive).sum()
        return hits / max(taken.sum(), 1), hits / max(positive.sum(), 1)

    wanted = 0 if by == "precision" else 1
    each = [measured(value) for value in np.unique(scores)]
    reaching = [pair for pair in each if pair[wanted] >= target]
    assert (found is not None) == bool(reaching)
    if found is not None:
        assert (found.precision, found.recall) == pytest.approx(measured(found.value))
        other = (found.recall, found.precision)[wanted]
        assert other == max(pair[1 - wanted] for pair in reaching)


@given(rows=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2))
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_higher_f1(rows):
    scores = np.array([score for score, _ in rows]) / 20
    positive = np.array([hit for _, hit in rows])

    def f1(value: float) -> float:
        taken = scores >= value
        return float(
            2 * (taken & positive).sum() / max(taken.sum() + positive.sum(), 1)
        )

    found = choose_best_f1(scores, positive)
    assert f1(found.value) == pytest.approx(max(f1(score) for score in scores))
    assert min(abs(scores - found.value)) > 0.01 or found.value == 0  # is on neither
