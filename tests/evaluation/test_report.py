"""The report: pictures, one HTML file, and tables that line up."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest

from gpt2_jax.evaluation.report import (
    format_results,
    format_test,
    write_pictures,
    write_report_html,
)

_HISTORY = [
    {"step": 1, "loss": 0.7},
    {"step": 1, "train_loss": 0.69, "validation_loss": 0.7, "seconds": 0.1},
    {"step": 4, "train_loss": 0.5, "validation_loss": 0.6, "seconds": 0.3},
    {"step": 5, "epoch": 1, "train_accuracy": 0.9, "validation_accuracy": 0.8},
]


def _results(classes: tuple[str, ...] = ("ham", "spam")) -> dict:
    size = len(classes)
    return {
        "accuracy": {"train": 0.9, "validation": 0.8, "test": 0.75},
        "accuracy_before": 0.5,
        "test": {
            "precision": 0.7,
            "recall": 0.6,
            "f1": 0.65,
            "confusion": [[10 * i + j for j in range(size)] for i in range(size)],
            "roc_auc": 0.8,
            "ci95": [0.6, 0.85],
            "n": 40,
        },
        "baselines": {"majority": 0.5, "tfidf_logreg": 0.7},
        "seconds": {"total": 9.0, "compile": 3.0, "trunk": 1.0, "train": 2.0},
        "weights": "mini",
        "data": {"name": "texts.csv", "classes": list(classes)},
        "device": "1 x cpu",
    }


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_pictures_are_png_files(tmp_path):
    pytest.importorskip("matplotlib")
    paths = write_pictures(tmp_path, _HISTORY, _results())
    assert {path.name for path in paths} == {
        "loss.png",
        "accuracy.png",
        "confusion.png",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in paths)


@pytest.mark.parametrize("name", ["$x^$", "a_b", "50% $ off $", "\\frac"])
def test_class_names_are_no_formulas(tmp_path, name):
    pytest.importorskip("matplotlib")
    assert len(write_pictures(tmp_path, _HISTORY, _results(("ham", name)))) == 3


def test_without_matplotlib_there_are_no_pictures_but_a_report(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    pictures = write_pictures(tmp_path, _HISTORY, _results())
    assert pictures == []
    page = write_report_html(tmp_path, _results(), pictures).read_text()
    assert "gpt2-jax[report]" in page


def test_a_report_holds_its_pictures_and_every_result(tmp_path):
    picture = tmp_path / "loss.png"
    picture.write_bytes(b"\x89PNG")
    page = write_report_html(tmp_path, _results(), [picture]).read_text()
    parsed = _Tags()
    parsed.feed(page)
    assert 'src="data:image/png;base64,iVBORw=="' in page
    for line in format_results(_results()):
        assert line in parsed.text
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing beside it


def test_a_report_shows_markup_in_names_as_text(tmp_path):
    name = "<script>alert('x')</script>"
    results = _results((name, '"&<b>'))
    results["data"]["name"] = "</title><script>.csv"
    page = write_report_html(tmp_path, results, []).read_text()
    parsed = _Tags()
    parsed.feed(page)
    assert not {"script", "b"} & set(parsed.tags)
    assert name in parsed.text
    assert "</title><script>.csv" in parsed.text


@pytest.mark.parametrize("classes", [("ham", "spam"), ("a", "b", "c" * 30)])
def test_the_columns_of_the_confusion_matrix_stand_below_their_names(classes):
    results = _results(classes)
    header, *rows = format_test(results["test"], classes)[1:]
    ends = [header.index(f" {name}") + 1 + len(name) for name in classes]
    for row, counts in zip(rows, results["test"]["confusion"], strict=True):
        for end, count in zip(ends, counts, strict=True):
            assert row[:end].endswith(f" {count}"), f"{header}\n{row}"


def test_results_without_auc_or_baseline_say_so():
    results = _results()
    results["test"]["roc_auc"] = results["baselines"]["tfidf_logreg"] = None
    text = "\n".join(format_results(results))
    assert "ROC AUC n/a" in text
    assert "not measured" in text
