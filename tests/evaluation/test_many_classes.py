"""77 and 151 classes: a screenful, a picture, and a page that can be read."""

from __future__ import annotations

import importlib.resources
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from report_helpers import HISTORY, Tags, make_report, report_curves, report_results

from gpt2_jax.evaluation.confusions import (
    MAX_MATRIX,
    cluster_order,
    confused_pairs,
    worst_and_best,
)
from gpt2_jax.evaluation.figures import draw_figures, write_pictures
from gpt2_jax.evaluation.metrics import evaluate_probabilities
from gpt2_jax.evaluation.report import write_report_html
from gpt2_jax.evaluation.summary import format_results


def _many(size: int, name: str = "class_{:03d}") -> dict:
    """Return results of `size` classes, of which 0 is mostly taken for the last."""
    random = np.random.default_rng(size)
    labels = np.tile(np.arange(size), 10)
    answers = np.where(random.random(len(labels)) < 0.2, (labels + 1) % size, labels)
    answers[labels == 0] = [size - 1] * 7 + [0] * 3
    probabilities = np.full((len(labels), size), 0.1 / size)
    probabilities += 0.9 * np.eye(size)[answers]
    classes = tuple(map(name.format, range(size)))
    results = report_results(classes)
    test = evaluate_probabilities(probabilities, labels, classes)
    results["test"] = {**test, "errors": results["test"]["errors"]}
    return results


@pytest.mark.parametrize("size", [77, 151])
def test_the_terminal_shows_a_screenful_and_everything_where_it_is_asked(size):
    results = _many(size)
    lines = format_results(results)
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 320
    text = "\n".join(lines)
    assert f"worst 5 of {size} classes" in text and "best 5:" in text
    assert f"class_000 taken for class_{size - 1:03d}: 7 of 10" in text
    assert "--verbose" in text
    whole = "\n".join(format_results(results, verbose=True))
    for c in range(size):
        assert re.search(rf"^  class_{c:03d} +precision", whole, re.MULTILINE)


def test_few_classes_keep_their_matrix():
    assert "confusion, true in rows:" in "\n".join(format_results(_many(MAX_MATRIX)))


def test_the_worst_and_the_best_have_texts_and_are_no_class_twice():
    worst, best = worst_and_best([0.5, 0.0, 0.9, 1.0, 0.2], [5, 0, 5, 5, 5], 3)
    assert worst == [4, 0, 2] and best == [3]


@given(
    hnp.arrays(
        np.int64, st.integers(2, 15).map(lambda n: (n, n)), elements=st.integers(0, 9)
    )
)
@settings(max_examples=60, deadline=None)
def test_every_class_has_one_place_and_every_error_is_a_pair(confusion):
    assert sorted(cluster_order(confusion)) == list(range(len(confusion)))
    pairs = confused_pairs(confusion)
    assert sum(n for *_, n in pairs) == confusion.sum() - np.trace(confusion)
    assert [n for *_, n in pairs] == sorted((n for *_, n in pairs), reverse=True)
    assert all(confusion[true, answer] == n for true, answer, n in pairs)


def test_classes_that_are_mistaken_for_one_another_are_neighbours():
    confusion = 20 * np.eye(20, dtype=np.int64)
    confusion[3, 17] = confusion[17, 3] = confusion[8, 12] = 9
    order = cluster_order(confusion)
    assert abs(order.index(3) - order.index(17)) == 1
    assert abs(order.index(8) - order.index(12)) == 1


@pytest.mark.parametrize("size", [20, 77, 151])
def test_the_picture_is_drawn_for_any_number_of_classes(size, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    paths = {path.name: path for path in write_pictures(tmp_path, HISTORY, _many(size))}
    with image.open(paths["confusion.png"]) as picture:
        assert min(picture.size) >= 700
        # The diagonal, the errors and their numbers: no empty frame.
        assert len(picture.convert("RGB").getcolors(2**20) or []) > 50


def test_the_page_has_a_map_pairs_and_a_table_in_three_orders(tmp_path):
    results = _many(77)
    page = write_report_html(make_report(tmp_path, results)).read_text()
    parsed = Tags(page)
    confusion = np.asarray(results["test"]["confusion"])
    assert page.count("<rect") == 1 + (confusion > 0).sum()
    assert "class_000 → class_076: 7 of 10" in parsed.text
    assert parsed.tags.count("th") < 77 * 4 + 77 * 2  # three orders, and no matrix
    assert parsed.tags.count("input") == 7 and "script" not in parsed.tags
    by_f1 = page.split('class="sorted by-f1"')[1].split('class="sorted')[0]
    f1 = [float(row[2]) for row in re.findall(3 * r'number">([\d.]+)<.*?', by_f1)]
    assert len(f1) == 77 and f1 == sorted(f1)
    assert len(Tags(page).text.split("A text classifier")[1].split(".")[0]) < 200


def test_curves_are_of_the_chosen_class_or_of_the_worst():
    pytest.importorskip("matplotlib")
    results = _many(77)
    classes = tuple(results["data"]["classes"])
    for name, values in results["test"]["per_class"].items():
        values["f1"] = 0.1 if name in classes[-6:] else 0.9
    drawn = Tags(draw_figures(HISTORY, results, report_curves(classes))["roc"]).text
    assert all(name in drawn for name in classes[-6:])
    assert "lowest F1 of 77" in drawn and classes[0] not in drawn
    results["test"]["positive"] = classes[40]
    drawn = Tags(draw_figures(HISTORY, results, report_curves(classes))["roc"]).text
    assert classes[40] in drawn and classes[-1] not in drawn


@pytest.mark.slow
def test_the_buttons_change_the_order_and_axe_finds_no_violation(tmp_path, browser):
    axe = pytest.importorskip("axe_playwright_python", reason="axe is missing")
    source = (importlib.resources.files(axe) / "axe.min.js").read_text("utf-8")
    path = write_report_html(make_report(tmp_path, _many(77)))
    page = browser.new_page(viewport={"width": 390, "height": 800}, bypass_csp=True)
    page.goto(path.as_uri())
    for order in ("texts", "name", "f1"):
        page.check(f"#by-{order}")
        shown = {o: page.is_visible(f".by-{o}") for o in ("f1", "texts", "name")}
        assert shown == {o: o == order for o in shown}
    page.evaluate(source)
    found = page.evaluate("axe.run()")
    assert found["passes"]
    assert [v["id"] for v in found["violations"]] == []
    overflows = "document.documentElement.scrollWidth > window.innerWidth"
    assert not page.evaluate(overflows)
    page.close()


@pytest.mark.slow
def test_nothing_has_to_be_scrolled_on_a_telephone(tmp_path, browser):
    results = _many(20, "Kontoauszugsbestellung {}")
    path = write_report_html(make_report(tmp_path, results))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(path.as_uri())
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.outerHTML)"
    assert page.eval_on_selector_all(".scroll", cut) == []
    page.close()
