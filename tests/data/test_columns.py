"""Columns are found, or all that are missing are named with the likely ones."""

from __future__ import annotations

import itertools

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError

_WORDS = ("bread", "soup", "room", "view", "phone", "bill", "table", "wine", "street")
TEXTS = [f"the {a} and the {b} were fine" for a, b in itertools.permutations(_WORDS, 2)]
TEXTS = TEXTS[:20]
N = len(TEXTS)
COLUMNS = {
    "Body": TEXTS,
    "Intent": [("ask", "buy")[i % 2] for i in range(N)],
    "id": [f"{i:09d}" for i in range(N)],
    "mood": [("objective-OR-neutral", "negative-AND-sad")[i % 2] for i in range(N)],
    "count": [str(i % 4) for i in range(N)],
    "title": [f"a short {text[4:]} here" for text in reversed(TEXTS)],
}


@pytest.fixture
def write(tmp_path):
    def write(names=("Body", "Intent", "id", "count"), header=None, name="a.csv"):
        lines = [header or ",".join(names)]
        for values in zip(*(COLUMNS[name] for name in names), strict=True):
            lines.append(",".join(values))
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write


def _load(source: str, **how):
    return load_dataset(DataConfig(source=source, **how))


def test_case_and_spaces_around_names_do_not_matter(write):
    for header in ("TEXT,LABEL", "Text, Label ", "text,label"):
        dataset = _load(write(("Body", "Intent"), header))
        assert dataset.texts == tuple(TEXTS) and dataset.classes == ("ask", "buy")
    dataset = _load(write(), text_column="BODY", label_column="intent")
    assert dataset.texts == tuple(TEXTS)


def test_a_name_in_two_cases_is_not_guessed(write):
    with pytest.raises(DataError, match="no column 'text'"):
        _load(write(("Body", "title", "Intent"), "Text,TEXT,label"))
    exact = _load(write(("Body", "title", "Intent"), "Text,text,label"))
    assert exact.texts == tuple(COLUMNS["title"])


def test_all_missing_columns_are_named_at_once_with_the_likely_ones(write):
    with pytest.raises(DataError) as caught:
        _load(write())
    message = str(caught.value)
    assert "no column 'text' or 'label'; found Body, Intent, id, count" in message
    assert "'Body' looks like the text and 'Intent' looks like the label" in message
    assert "choose with --text-column Body --label-column Intent" in message
    assert not any(text in message for text in TEXTS)
    dataset = _load(write(), text_column="Body", label_column="Intent")  # as advised
    assert dataset.texts == tuple(TEXTS)


def test_two_texts_are_both_named(write):
    """Silent fault 8: pairs were trained on the first sentence alone."""
    names = ("Body", "title", "Intent")
    path = write(names)
    with pytest.raises(DataError, match="--text-column Body --text-column title"):
        _load(path)
    how = {"label_column": "Intent"}
    both = _load(path, text_column=("title", "Body"), **how)
    pairs = zip(COLUMNS["title"], TEXTS, strict=True)
    assert both.texts == tuple(f"{title}\n{body}" for title, body in pairs)
    assert not any("left out" in note for note in both.notes)
    spaced = _load(path, text_column=("title", "Body"), join=" | ", **how)
    assert spaced.texts[0] == f"{COLUMNS['title'][0]} | {TEXTS[0]}"
    alone = _load(path, text_column="Body", **how)
    assert any(
        "the column 'title' looks like text too and is left out; add it with "
        "--text-column Body --text-column title" in note
        for note in alone.notes
    )


def test_a_label_column_that_holds_texts_or_ids_is_refused(write):
    path = write()
    with pytest.raises(DataError, match="label column 'Body' looks like texts") as text:
        _load(path, text_column="Intent", label_column="Body")
    assert not any(value in str(text.value) for value in TEXTS)
    with pytest.raises(DataError, match="'id' looks like ids or numbers"):
        _load(path, text_column="Body", label_column="id")


def test_a_text_column_that_holds_ids_or_numbers_is_refused(write):
    path = write()
    for column, what in (("id", "numbers"), ("count", "numbers")):
        with pytest.raises(DataError, match=f"'{column}' holds only {what}.*Body"):
            _load(path, text_column=column, label_column="Intent")


def test_ids_without_their_texts_are_told(write):
    path = write(("id", "count", "Intent"))
    with pytest.raises(DataError, match=r"no column looks like texts.*get the texts"):
        _load(path)
    with pytest.raises(DataError, match=r"no column looks like texts.*get the texts"):
        _load(write(("id", "count", "mood"), "000000001,3,negative"))


def test_several_labels_are_refused_by_name(tmp_path):
    path = tmp_path / "a.csv"
    labels = ["red", "blue", "red;blue", "green", "red;green"] * 4
    rows = [f"{t},{k}" for t, k in zip(TEXTS, labels, strict=True)]
    path.write_text("\n".join(["text,label", *rows]))
    with pytest.raises(DataError, match=r"several labels in 8 of 20 rows.*multi-label"):
        _load(str(path))
    flags = [f"{t},{i % 2},{i % 3 % 2},{i // 7 % 2}" for i, t in enumerate(TEXTS)]
    path.write_text("\n".join(["text,toxic,rude,threat", *flags]))
    with pytest.raises(
        DataError, match="multi-label data: the columns toxic, rude, th"
    ):
        _load(str(path))
    lines = [f'{{"text": "{t}", "label": ["a", "b"]}}' for t in TEXTS]
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=r"line 1: 'label' holds 2 labels .*multi-label"
    ):
        _load(str(path))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["ask", "rare"] + ["ask", "buy"] * 9, "Besides, .*'rare' is seen once"),
        (["Negative", "Neative"] + ["Negative", "other"] * 20, "Neative=Negative"),
        ([f"{i / 20:.2f}" for i in (*range(12), *range(8))], "--label-threshold 0.275"),
        (["ask"] * N, "only one class, 'ask'"),
        (["ask,buy", "buy,ask"] * 2 + ["ask", "buy"] * 8, "4 of 20 rows.*multi-label"),
    ],
)
def test_what_is_wrong_with_the_likely_columns_is_told_with_them(
    labels, told, tmp_path
):
    path = tmp_path / "a.csv"
    rows = [f'{i} {TEXTS[i % N]},"{label}"' for i, label in enumerate(labels)]
    path.write_text("\n".join(["comment,mood", *rows]), "utf-8")
    with pytest.raises(DataError, match=f"--label-column mood, .*{told}"):
        _load(str(path))
    rows[-1] = rows[-1].replace(" the", " ca\u00f1on the")
    path.write_bytes("\n".join(["comment,mood", *rows]).encode("latin-1"))
    with pytest.raises(DataError, match=f"mood, .*Besides, .*0xf1.*{told}"):
        _load(str(path))


def test_a_name_is_no_text_beside_sentences(write, tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"Company{i},{text},{i % 2}" for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(["ID,Tweet,Kind", *rows]), "utf-8")
    with pytest.raises(DataError, match="choose with --text-column Tweet --label-col"):
        _load(str(path))
