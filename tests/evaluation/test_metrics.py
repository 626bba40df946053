"""Metrics against scikit-learn and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.evaluation.baselines import (
    compare_with_linear,
    measure_baselines,
    untried,
)
from gpt2_jax.evaluation.metrics import (
    accuracy,
    confusion_matrix,
    cross_entropy,
    evaluate_probabilities,
    expected_calibration_error,
    macro_f1,
    roc_auc,
    softmax,
    wilson_interval,
)


def _case(num_classes: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return probabilities with many ties, labels and class names."""
    random = np.random.default_rng(num_classes)
    labels = random.integers(0, num_classes, 60)
    logits = random.integers(-2, 3, (60, num_classes)).astype(np.float32)
    logits[np.arange(60), labels] += random.integers(0, 3, 60)
    return softmax(logits), labels, [f"class{c}" for c in range(num_classes)]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_precision_recall_and_f1_are_scikit_learns(num_classes):
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, classes = _case(num_classes)
    predicted = probabilities.argmax(-1)
    got = evaluate_probabilities(probabilities, labels, classes)
    average = "binary" if num_classes == 2 else "macro"
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, average=average
    )[:3]
    np.testing.assert_allclose([got["precision"], got["recall"], got["f1"]], expected)
    each = metrics.precision_recall_fscore_support(labels, predicted)
    for c, name in enumerate(classes):
        row = got["per_class"][name]
        np.testing.assert_allclose(
            [row["precision"], row["recall"], row["f1"], row["n"]],
            [column[c] for column in each],
        )


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_confusion_matrix_has_true_classes_in_rows(num_classes):
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, classes = _case(num_classes)
    got = evaluate_probabilities(probabilities, labels, classes)
    expected = metrics.confusion_matrix(labels, probabilities.argmax(-1))
    assert got["confusion"] == expected.tolist()
    assert got["n"] == 60


def test_a_class_that_is_nowhere_has_its_row_and_column():
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([0, 2, 2]), 4)
    assert matrix.tolist() == [[1, 0, 1, 0], [0] * 4, [0, 0, 1, 0], [0] * 4]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_roc_auc_shares_ties_as_scikit_learn_does(num_classes):
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, classes = _case(num_classes)
    assert len(np.unique(probabilities[:, 1])) < len(labels)  # there are ties
    got = evaluate_probabilities(probabilities, labels, classes)["roc_auc"]
    if num_classes == 2:
        expected = metrics.roc_auc_score(labels, probabilities[:, 1])
    else:
        expected = metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert got == pytest.approx(expected, abs=1e-12)


def test_equal_scores_have_an_auc_of_one_half():
    assert roc_auc(np.ones(5), np.array([True, False, True, False, False])) == 0.5


def test_one_class_alone_has_no_auc():
    assert roc_auc(np.array([0.1, 0.2]), np.array([True, True])) is None
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    got = evaluate_probabilities(probabilities, np.array([0, 0]), ["ham", "spam"])
    assert got["roc_auc"] is None
    assert got["recall"] == 0.0  # 0 of 0


def test_brier_of_two_classes_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, classes = _case(2)
    got = evaluate_probabilities(probabilities, labels, classes)["brier"]
    assert got == pytest.approx(metrics.brier_score_loss(labels, probabilities[:, 1]))


def test_brier_of_more_classes_adds_up_over_them():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    got = evaluate_probabilities(probabilities, np.array([0, 1]), ["a", "b", "c"])
    expected = (0.25 + 0.09 + 0.04 + 0.01 + 0.81 + 0.64) / 2
    assert got["brier"] == pytest.approx(expected)


def test_wilson_gives_known_intervals():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx([0.0, 0.1611], abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx([0.8389, 1.0], abs=1e-4)


def test_calibration_error_of_a_hand_example():
    probabilities = np.array(
        [[0.95, 0.05], [0.92, 0.08], [0.35, 0.65], [0.38, 0.62], [0.0, 1.0]]
    )
    labels = np.array([0, 1, 1, 1, 1])
    # Bin 0.9-1.0: (0.95 + 0.92 + 1.0) - 2 hits; bin 0.6-0.7: (0.65 + 0.62) - 2.
    expected = (abs(2.87 - 2) + abs(1.27 - 2)) / 5
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_a_confident_and_right_classifier_has_no_calibration_error():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0.0


def test_softmax_and_cross_entropy_do_not_overflow():
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[1, 0], [0, 1]])
    assert cross_entropy(logits, np.array([0, 0])) == pytest.approx(500.0)


def test_cross_entropy_of_even_odds_is_the_log_of_the_classes():
    assert cross_entropy(np.zeros((3, 4)), np.arange(3)) == pytest.approx(math.log(4))


def test_accuracy_is_the_share_of_hits():
    assert accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])) == 0.5


def test_baselines_have_accuracy_and_macro_f1_of_the_same_answers():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, truth = np.array([1, 0, 1, 0, 2] * 4), np.array([1, 0, 2])
    answers = {"tfidf_logreg": np.array([1, 0, 0]), "tfidf_words_logreg": None}
    got = measure_baselines(labels, truth, answers, num_classes=3)
    predicted = answers["tfidf_logreg"]
    assert got["tfidf_logreg"] == pytest.approx((predicted == truth).mean())
    expected = metrics.f1_score(truth, predicted, average="macro")
    assert got["macro_f1"]["tfidf_logreg"] == pytest.approx(expected)
    assert got["majority"] == pytest.approx(1 / 3)
    assert got["macro_f1"]["majority"] == pytest.approx(1 / 6)
    assert got["tfidf_words_logreg"] is got["macro_f1"]["tfidf_words_logreg"] is None


@pytest.mark.parametrize(
    ("accuracy", "macro_f1", "ahead"),
    [
        (0.95, 0.95, None),
        (0.9, 0.95, "in accuracy: "),
        (0.95, 0.7, "in macro-F1: "),
        (0.8, 0.7, "in accuracy and macro-F1: "),
    ],
)
def test_a_linear_model_that_is_as_good_is_said_with_what_to_try(
    accuracy, macro_f1, ahead
):
    measured = {
        "tfidf_logreg": 0.8,
        "tfidf_words_logreg": 0.9,
        "macro_f1": {"tfidf_logreg": 0.6, "tfidf_words_logreg": 0.8},
    }
    tries = untried(FinetuneConfig())
    told = compare_with_linear(measured, accuracy, macro_f1, tries)
    if ahead is None:
        assert told is None
        return
    assert told is not None and told.startswith("TF-IDF of words") and ahead in told
    assert all(way in told for way in tries) and "use the linear model" in told
    assert "--pool mean" in tries
    assert "--pool mean" not in untried(FinetuneConfig(pool="mean"))


@given(
    st.integers(2, 6).flatmap(
        lambda size: st.lists(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)),
            min_size=1,
            max_size=40,
        ).map(lambda rows: (size, rows))
    )
)
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of scikit-learn, on absent classes
def test_means_over_classes_are_scikit_learns_whatever_class_is_absent(case):
    metrics = pytest.importorskip("sklearn.metrics")
    size, rows = case
    labels, predicted = map(np.asarray, zip(*rows, strict=True))
    classes = [f"c{c}" for c in range(size)]
    probabilities = np.full((len(labels), size), 0.1) + np.eye(size)[predicted]
    probabilities /= probabilities.sum(-1, keepdims=True)
    got = evaluate_probabilities(probabilities, labels, classes)
    for key, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        expected = metrics.f1_score(labels, predicted, average=average, zero_division=0)
        assert got[key] == pytest.approx(expected), key
    expected = metrics.balanced_accuracy_score(labels, predicted)
    assert got["balanced_accuracy"] == pytest.approx(expected)
    logits = np.eye(size)[predicted]
    assert macro_f1(logits, labels) == pytest.approx(got["macro_f1"])
    if size > 2:
        assert got["f1"] == pytest.approx(got["macro_f1"])


def test_an_absent_class_takes_no_part_in_the_areas():
    probabilities, labels, _ = _case(4)
    rows = labels != 3
    classes = ["a", "b", "c", "absent"]
    got = evaluate_probabilities(probabilities[rows], labels[rows], classes)
    each = [roc_auc(probabilities[rows][:, c], labels[rows] == c) for c in range(3)]
    assert got["roc_auc"] == pytest.approx(np.asarray(each, float).mean())
    assert got["pr_auc"] is not None


@pytest.mark.parametrize("positive", ["hate", "ok"])
def test_with_two_classes_the_scores_are_of_the_class_they_name(positive):
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, _ = _case(2)
    classes = ["hate", "ok"]
    got = evaluate_probabilities(probabilities, labels, classes, positive=positive)
    index = classes.index(positive)
    predicted = probabilities.argmax(-1)
    expected = metrics.precision_recall_fscore_support(
        labels, predicted, average="binary", pos_label=index
    )[:3]
    np.testing.assert_allclose([got["precision"], got["recall"], got["f1"]], expected)
    scores = probabilities[:, index]
    area = metrics.roc_auc_score(labels == index, scores)
    assert got["roc_auc"] == pytest.approx(area)
    area = metrics.average_precision_score(labels == index, scores)
    assert got["pr_auc"] == pytest.approx(area)
    assert got["positive"] == positive
    default = evaluate_probabilities(probabilities, labels, classes)
    assert default["positive"] == "ok"
