"""Labels that are probably wrong: found, written to be edited, and given back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError, WeightsError
from gpt2_jax.evaluation.label_errors import (
    confident_classes,
    overlaps,
    probable_errors,
    similar_pairs,
)
from gpt2_jax.sweeps.label_errors import find_label_errors


def _flipped(share: float = 0.05, num: int = 2000, num_classes: int = 4):
    """Return probabilities of a good model, labels of which some are flipped, these."""
    random = np.random.default_rng(0)
    true = random.integers(0, num_classes, num)
    alpha = np.where(np.eye(num_classes)[true] > 0, 8.0, 1.0)
    p = np.stack([random.dirichlet(a) for a in alpha])
    flipped = random.random(num) < share
    shift = random.integers(1, num_classes, num)
    return p, np.where(flipped, (true + shift) % num_classes, true), flipped


def test_flipped_labels_come_first():
    p, labels, flipped = _flipped()
    found = probable_errors(p, labels)
    assert flipped[found[:50]].mean() >= 0.95
    assert flipped[found].sum() / flipped.sum() > 0.5


def test_it_is_the_confident_joint_of_the_paper():
    p = np.asarray([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
    labels = np.asarray([0, 0, 1, 1, 1])
    # Thresholds: 0.75 for class 0, (0.7 + 0.8 + 0.45) / 3 = 0.65 for class 1.
    assert confident_classes(p, labels).tolist() == [0, -1, 1, 1, -1]
    assert confident_classes(p, 1 - labels).tolist() == [0, 0, 1, 1, 0]
    assert overlaps(p, np.asarray([1, 0, 1, 1, 1]))[0][:2] == (0, 1)


def test_a_class_that_nothing_is_labelled_with_has_no_errors():
    p = np.asarray([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    assert confident_classes(p, np.asarray([1, 1])).tolist() == [-1, 1]


def test_nearly_the_same_texts_with_different_labels_are_paired():
    texts = [
        "please cancel my order number 12 today",
        "please cancel my order number 13 today",
        "please cancel my order number 14 today",
        "where is the station",
    ]
    assert similar_pairs(texts, np.asarray([0, 0, 1, 1]))[0][1] == 2
    assert not similar_pairs(texts, np.asarray([0, 0, 0, 1]))
    assert not similar_pairs(["", " "], np.asarray([0, 1]))


def _write_cv(folder: Path) -> Path:
    folder.mkdir()
    lines = ["row,text,label,predicted,p_ham,p_spam"]
    lines += [f"{i},hello {i} friend,ham,ham,0.9,0.1" for i in range(1, 9)]
    lines += [f"{i},win cash {i} now,spam,spam,0.2,0.8" for i in range(9, 17)]
    lines += ["17,win cash 99 now,ham,spam,0.05,0.95"]
    (folder / "out_of_fold.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_what_is_edited_is_given_back(tmp_path, capsys):
    folder = _write_cv(tmp_path / "cv")
    assert main(["label-errors", str(folder)]) == 0
    assert "1 of 17 labels are probably wrong" in capsys.readouterr().out
    path = folder / "label_errors.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["row"], rows[0]["suggested"]) == ("17", "spam")
    rows[0]["corrected"] = "spam"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with (folder / "out_of_fold.csv").open(newline="") as file:
        data = [f"{row['text']},{row['label']}" for row in csv.DictReader(file)]
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *data]) + "\n")
    before = load_dataset(DataConfig(source=tmp_path / "data.csv"))
    after = load_dataset(DataConfig(source=tmp_path / "data.csv", corrections=path))
    changed = np.flatnonzero(np.asarray(before.labels) != np.asarray(after.labels))
    assert changed.tolist() == [16] and after.sha256 != before.sha256
    assert any("1 labels are corrected" in note for note in after.notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label,corrected\nnever seen,ham,spam\n", "1 of 1 corrections are of no"),
        ("text,label,corrected\na 1,spam,spam\n", "of no row"),
        ("text,label\na 1,ham\n", "has no column corrected"),
        ("text,label,corrected\na 1,ham,spam\na 1,ham,ham\n", "line 3: this text has"),
        ("text,label,corrected\na 1,ham,\xe9\n".encode("latin-1"), "CSV in UTF-8"),
    ],
)
def test_corrections_of_nothing_are_refused(tmp_path, content, words):
    data, path = tmp_path / "data.csv", tmp_path / "corrections.csv"
    data.write_text("text,label\n" + "a 1,ham\nb 2,spam\n" * 1 + "c 3,ham\nd 4,spam\n")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        load_dataset(DataConfig(source=data, corrections=path))


def test_a_folder_without_a_cross_validation_is_said(tmp_path):
    with pytest.raises(WeightsError, match="give the folder of a finished gpt2-jax cv"):
        find_label_errors(tmp_path)
