"""Marked words are readable with and without colour."""

from __future__ import annotations

import datetime
import json
import re

import pytest

from gpt2_jax.inference.classifier import Prediction
from gpt2_jax.inference.explain import Word
from gpt2_jax.inference.show import json_line, mark, text_line

_TEXT = "you WON a prize, mum"


def _words(*weights: float) -> list[Word]:
    spans = [match.span() for match in re.finditer(r"\S+", _TEXT)]
    return [Word(_TEXT[a:b], a, b, w) for (a, b), w in zip(spans, weights, strict=True)]


def test_words_that_count_are_marked_with_their_weights():
    words = _words(0.001, 0.5, 0.02, 0.25, -0.06)
    marked = mark(_TEXT, words, colour=False)
    assert marked == "you [WON +0.50] a [prize, +0.25] [mum -0.06]"


def test_colour_adds_nothing_but_colour():
    words = _words(0.0, 0.5, 0.0, 0.25, -0.2)
    coloured = mark(_TEXT, words, colour=True)
    assert "\033[1;32m[WON +0.50]\033[0m" in coloured
    assert "\033[1;31m[mum -0.20]\033[0m" in coloured
    plain = mark(_TEXT, words, colour=False)
    assert re.sub(r"\033\[[\d;]*m", "", coloured) == plain


def test_nothing_is_marked_where_nothing_counts():
    assert mark(_TEXT, _words(0, 1e-4, 0, -1e-3, 0), colour=False) == _TEXT
    assert mark("", [], colour=True) == ""


@pytest.mark.parametrize(
    ("top_k", "shown"),
    [
        (1, "c 0.5000"),
        (2, "c 0.5000  b 0.3000"),
        (3, "a 0.2000  b 0.3000  c 0.5000"),
        (9, "a 0.2000  b 0.3000  c 0.5000"),
    ],
)
def test_the_likeliest_classes_are_shown_where_there_are_more(top_k, shown):
    prediction = Prediction("c", 0.5, {"a": 0.2, "b": 0.3, "c": 0.5}, 4, False)
    line = text_line(prediction, "a text", None, top_k=top_k, colour=False)
    assert line == f"c\t{shown}\ta text"


@pytest.mark.parametrize("explained", [False, True])
def test_a_line_stays_one_line_of_three_fields_whatever_the_text_holds(explained):
    prediction = Prediction("a\tb", 1.0, {"a\tb": 1.0}, 4, False)
    text = "one\ntwo\tthree\rfour\u2028five \x1b[31m \x85 \xa0👩‍🚀"
    words = [Word("one\ntwo", 0, 7, 0.5)] if explained else None
    line = text_line(prediction, text, words, top_k=3, colour=False)
    assert line.splitlines() == [line]
    label, _, shown = line.split("\t")
    assert label == "a\\tb"
    first = "[one\\ntwo +0.50]" if explained else "one\\ntwo"
    assert shown == f"{first}\\tthree\\rfour\\u2028five \\x1b[31m \\x85 \xa0👩‍🚀"
    coloured = text_line(prediction, text, words, top_k=3, colour=True)
    assert coloured.count("\x1b") == (2 if explained else 0)


def test_an_id_that_json_does_not_have_is_written_as_text():
    prediction = Prediction("a", 1.0, {"a": 1.0}, 4, False)
    line = json_line(prediction, datetime.date(2026, 1, 2), None)
    assert json.loads(line)["id"] == "2026-01-02"
