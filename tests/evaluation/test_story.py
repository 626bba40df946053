"""What the report says in sentences, and its tables of thresholds and errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from report_helpers import SCRIPT, Tags, make_report, report_results

from gpt2_jax.evaluation.curves import collect_curves
from gpt2_jax.evaluation.error_list import MAX_LISTED, error_list
from gpt2_jax.evaluation.model_card import write_model_card
from gpt2_jax.evaluation.report import write_report_html
from gpt2_jax.evaluation.story import story
from gpt2_jax.evaluation.thresholds import thresholds

CONFIG = {"train": {"keep": "last"}}


def _history(*losses: float) -> list[dict]:
    return [{"epoch": i, "validation_loss": x} for i, x in enumerate(losses, 1)]


def _told(results=None, config=CONFIG, history=()) -> str:
    return " ".join(story(results or report_results(), config, history))


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((0.5, 0.4, 0.2, 0.3, 0.5), "lowest at epoch 3 (0.200) and more than doubles"),
        ((0.5, 0.4, 0.5), "lowest at epoch 2 (0.400) and rises by 25% after: try"),
        ((0.5, 0.4, 0.3), "still falling in the last epoch: try more --epochs"),
    ],
)
def test_the_course_of_the_loss_is_told_with_what_to_try(losses, said):
    assert said in _told(history=_history(*losses))


def test_nothing_is_advised_that_was_done_or_cannot_be_seen():
    rising = _history(0.5, 0.2, 0.5)
    kept = _told(config={"train": {"keep": "best"}}, history=rising)
    assert "--keep best has kept" in kept and "try --keep" not in kept
    for losses in ((0.3,), (), (0.4, 0.3, 0.3)):
        assert "alidation loss" not in _told(history=_history(*losses))


def test_the_errors_of_a_linear_model_stand_beside_ours():
    assert "Of 40 test texts it gets 10 wrong; the best linear" in _told()
    results = report_results()
    results["baselines"]["verdict"] = "a linear model is as good"
    told = story(results, CONFIG, ())
    assert told[0] == "A linear model is as good."
    assert not any("the best linear model" in line for line in told)


def test_gaps_weak_classes_small_parts_and_loose_probabilities_are_told():
    assert "right on 90.0% of its training texts" in _told()
    assert "finds 12 of the 20 test texts of ham" in _told()
    assert "the accuracy may lie anywhere from 60 to 85%" in _told()
    assert "off by 6 points on average" in _told()
    good = report_results()
    good["accuracy"] = dict.fromkeys(good["accuracy"], 0.9)
    good["test"]["ci95"] = [0.88, 0.92]
    for scores in good["test"]["per_class"].values():
        scores["recall"] = 0.9
    test = {**good["calibration"]["test"], "ece_after": 0.01}
    good["calibration"] = {**good["calibration"], "test": test}
    for words in ("training texts", "misses most", "is small", "off by"):
        assert words not in _told(good)


def test_report_and_card_tell_the_same_story_date_run_and_version(tmp_path):
    results = {**report_results(), "date": "2026-01-31T12:34:56+0000", "run": "mine"}
    report = make_report(tmp_path, results)
    texts = (
        Tags(write_report_html(report).read_text()).text,
        write_model_card(report).read_text().replace("\\", ""),
    )
    for text in texts:
        assert "un mine, 2026-01-31 12:34, gpt2-jax 0.1.0" in text
        for sentence in report.story:
            assert sentence in text
    assert "run of-old" in make_report(tmp_path / "of-old").made  # without a name


def test_a_threshold_takes_in_what_is_not_below_it():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95]])
    labels = np.array([0, 1, 0, 1])
    found = collect_curves(probabilities, labels, ("ham", "spam"), 10)
    rows = {row["threshold"]: row for row in found["thresholds"]["rows"]}
    assert found["thresholds"]["of"] == "spam"
    assert rows[0.8] == {
        "threshold": 0.8,
        "precision": 0.5,
        "recall": 0.5,
        "per_1000": 500.0,
    }
    assert rows[0.99]["precision"] is None and rows[0.05]["recall"] == 1.0
    counts = found["scores"]["n"]
    assert {name: sum(n) for name, n in counts.items()} == {"spam": 2, "ham": 2}
    shown = Tags(thresholds(found["thresholds"])).text
    assert "alarms per 1,000 texts" in shown and "n/a" in shown


def test_of_many_classes_a_threshold_is_one_to_abstain_by():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    found = collect_curves(probabilities, np.array([0, 0, 2]), ("a", "b", "c"), 10)
    rows = {row["threshold"]: row for row in found["thresholds"]["rows"]}
    assert rows[0.5]["precision"] == 1.0
    assert rows[0.5]["per_1000"] == pytest.approx(2000 / 3)
    assert found["scores"]["n"].keys() == {"right answers", "wrong answers"}
    assert "--abstain-below" in thresholds(found["thresholds"])
    assert thresholds(None) == ""  # an old run has none


def _errors(*texts: str) -> dict:
    errors = [
        {"row": i, "label": "ham", "predicted": "spam", "prob": 0.9 - 0.01 * i}
        for i in range(len(texts))
    ]
    return {"errors": errors, "n": 50, "confusion": [[0, len(texts)], [0, 10]]}


def test_errors_are_shown_in_each_order_with_row_and_words():
    texts = ["long " * 9, "b <i>", "x" * 700]
    test = _errors(*texts)
    test["errors"][1]["words"] = [[0, 1, 0.5], [2, 5, -0.5]]
    page = error_list(test, texts)
    assert 'style="--share:1.00">b</mark>' in page
    assert 'class="against" style="--share:1.00">&lt;i&gt;</mark>' in page
    assert "x" * 600 + " …" in page and "x" * 601 not in page
    for order in ("probability", "true", "length", "row"):
        assert f'id="errors-{order}"' in page
        (part,) = re.findall(f'sorted errors-{order}">(.*?)</table>', page, re.DOTALL)
        rows = re.findall(r'predictions.csv">(\d+)</a>', part)
        assert sorted(rows) == ["1", "2", "3"]
        assert rows == (["2", "1", "3"] if order == "length" else ["1", "2", "3"])
    assert "3 of 40 errors" in page
    told = "Told for the 1 most probable."  # the others are not without any reason
    assert told in page and told not in error_list(_errors(*texts), texts)


def test_as_many_errors_as_one_reads_are_listed():
    texts = ["a text"] * (MAX_LISTED + 5)
    page = error_list(_errors(*texts), texts)
    assert page.count('class="text"') == 4 * MAX_LISTED
    none = {**_errors(), "confusion": [[25, 0], [0, 25]]}
    assert "Every test text is classified correctly" in error_list(none, [])


def test_markup_in_a_marked_word_stays_text():
    test = _errors(SCRIPT)
    test["errors"][0]["words"] = [[0, len(SCRIPT), 0.3]]
    assert not {"script"} & set(Tags(error_list(test, [SCRIPT])).tags)
