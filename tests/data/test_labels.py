"""Labels of files as they are: rare, misspelt, numbers; and what becomes of them."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.labels import order_classes, positive_class
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.data.typos import likely_typos
from gpt2_jax.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write a file of so many texts of each label; return the config that reads it."""

    def write(counts: dict[str, int], **config) -> DataConfig:
        path = tmp_path / "texts.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for label, count in counts.items():
                writer.writerows([f"{label} text {i}", label] for i in range(count))
        return DataConfig(source=str(path), **config)

    return write


def _counts(data: Dataset) -> dict[str, int]:
    return dict(Counter(data.classes[label] for label in data.labels))


def test_all_rare_labels_are_named_at_once_with_what_to_do(write):
    config = write({"a": 9, "b": 1, "c": 9, "d": 1})
    with pytest.raises(DataError) as error:
        load_dataset(config)
    for words in (
        "'b' is seen once (text 10)",
        "'d' is seen once (text 20)",
        "--rare drop",
        "--rare train",
    ):
        assert words in str(error.value)
    with pytest.raises(DataError, match="'c' 3 times"):
        load_dataset(write({"a": 9, "c": 3}, rare_below=4))


def test_rare_labels_are_left_out_where_that_is_asked_and_said(write):
    data = load_dataset(write({"a": 9, "b": 1, "c": 4}, rare="drop", rare_below=4))
    assert _counts(data) == {"a": 9, "c": 4}
    assert data.classes == ("a", "c")
    assert any("1 texts of 1 rare labels left out" in n for n in data.notes)


def test_rare_labels_are_trained_on_and_never_measured_where_that_is_asked(write):
    config = write({"a": 50, "b": 1, "c": 50, "d": 3}, rare="train", rare_below=4)
    data = load_dataset(config)
    split = split_dataset(data, config)
    names = np.asarray([data.classes[label] for label in data.labels])
    trained = Counter(names[split.train].tolist())
    assert trained["b"] == 1 and trained["d"] == 3
    for rows in (split.validation, split.test):
        assert set(names[rows]) == {"a", "c"}
    assert split.dropped == 0


def test_a_text_of_a_rare_label_takes_its_twins_along():
    labels = (0, 1) * 40 + (2,)
    texts = (*(f"t{i}" for i in range(80)), "t0")  # rare, and common, of one text
    data = Dataset("d", "", texts, labels, ("a", "b", "rare"), None, ())
    split = split_dataset(data, DataConfig(rare="train"))
    assert {0, 80} <= set(split.train.tolist())


def test_the_run_that_is_evaluated_later_has_the_same_rows(write):
    config = write({"a": 9, "b": 1, "c": 4}, rare="drop")
    trained, later = load_dataset(config), load_dataset(config, to_train=False)
    assert trained.texts == later.texts and trained.classes == later.classes


def test_labels_are_renamed_and_a_name_that_is_not_there_is_refused(write):
    config = write(
        {"Neative": 1, "Negative": 40, "a=b": 5}, rename_labels=("Neative=Negative",)
    )
    assert _counts(load_dataset(config)) == {"Negative": 41, "a=b": 5}
    renamed = dataclasses.replace(config, rename_labels=("a=b=c=d", "Neative=Negative"))
    assert _counts(load_dataset(renamed)) == {"Negative": 41, "c=d": 5}
    wrong = dataclasses.replace(config, rename_labels=("Negatve=no",))
    with pytest.raises(DataError, match=r"no text has the label 'Negatve'.*Negative"):
        load_dataset(wrong)
    with pytest.raises(ValueError, match="is not OLD=NEW"):
        DataConfig(rename_labels=("Neative",))


def test_a_likely_typo_is_named_in_the_error_and_in_the_note(write):
    with pytest.raises(DataError, match="--rename-label Neative=Negative"):
        load_dataset(write({"Neative": 1, "Negative": 40, "Positive": 40}))
    notes = load_dataset(write({"Neative": 2, "Negative": 40, "Positive": 40})).notes
    assert "'Neative' looks like 'Negative': --rename-label Neative=Negative" in notes


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"Negative": 400, "Neative": 2, "Positive": 400}, {"Neative": "Negative"}),
        ({"Negative": 40, "Neative": 30}, {}),  # as common: meant
        ({"class10": 400, "class1": 2, "class11": 3}, {}),  # digits tell apart
        ({"ham": 400, "spam": 2}, {}),  # too short to tell
        ({"flight": 900, "flihgt": 1, "airfare": 9}, {"flihgt": "flight"}),
        ({"ground_service": 900, "ground_fare": 2}, {}),
    ],
)
def test_only_a_rare_label_a_slip_away_from_a_common_one_is_a_typo(counts, found):
    assert likely_typos(counts) == found


def test_numbers_are_ordered_by_value_and_names_as_text(write):
    assert order_classes(["10", "9", "1", "2", "-1"]) == ("-1", "1", "2", "9", "10")
    assert order_classes(["b", "a", "10", "9"]) == ("10", "9", "a", "b")
    data = load_dataset(write({str(n): 2 for n in (10, 2, 1)}))
    assert data.classes == ("1", "2", "10")


def test_the_order_that_a_run_keeps_stays(write):
    config = write({str(n): 4 for n in (10, 2, 1)})
    old = ("1", "10", "2")
    kept, new = load_dataset(config, classes=old), load_dataset(config)
    assert kept.classes == old
    assert [kept.classes[i] for i in kept.labels] == [
        new.classes[i] for i in new.labels
    ]
    assert load_dataset(config, classes=("1", "2")).classes == ("1", "2", "10")


def test_measurements_are_refused_as_labels_and_cut_in_two(write):
    config = write({f"{n / 20}": 2 for n in range(21)})
    with pytest.raises(DataError, match=r"21 numbers from 0 to 1.*threshold 0\.5"):
        load_dataset(config)
    two = load_dataset(dataclasses.replace(config, label_threshold=0.5))
    assert _counts(two) == {"<0.5": 20, ">=0.5": 22}
    stars = load_dataset(write({f"{n / 2}": 2 for n in range(1, 11)}))
    assert len(stars.classes) == 10  # half stars are classes
    with pytest.raises(DataError, match="needs numbers as labels"):
        load_dataset(write({"a": 4, "b": 4}, label_threshold=0.5))


def test_the_positive_class_is_the_rarer_one_and_on_a_tie_the_second():
    classes = ("hate", "ok")
    assert positive_class("d", classes, [0, 1, 1], None) == "hate"
    assert positive_class("d", classes, [0, 0, 1], None) == "ok"
    assert positive_class("d", classes, [0, 1], None) == "ok"
    assert positive_class("d", classes, [0, 1, 1], "ok") == "ok"
    assert positive_class("d", ("a", "b", "c"), [0, 1, 2], None) is None
    with pytest.raises(DataError, match="'eggs' is not one of its labels hate, ok"):
        positive_class("d", classes, [0, 1], "eggs")


def test_the_file_of_repeated_texts_names_labels_and_parts(tmp_path):
    from gpt2_jax.data.checks import repeated_texts, write_repeated_texts

    texts = ["once", "both", "both", "over", "over", "same", "same"]
    labels = ["a", "a", "b", "a", "a", "b", "b"]
    parts = {"train": np.array([0, 1, 3, 5, 6]), "test": np.array([4])}
    found = repeated_texts(texts, labels, parts)
    assert [each.text for each in found] == ["both", "over"]
    path = Path(tmp_path) / "repeated.csv"
    write_repeated_texts(path, found)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"text": "both", "labels": '["a", "b"]', "parts": '["train", ""]'}
    assert rows[1]["parts"] == '["train", "test"]'
