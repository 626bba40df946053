"""Cross-validation: what the folds are, and what their runs say of every text."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from training_helpers import error_line, run_config

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.sweeps.folds import OUT_OF_FOLD, cross_validate, out_of_fold


def _dataset(num: int = 60, **fields) -> Dataset:
    values = {
        "name": "n",
        "sha256": "s",
        "texts": tuple(f"text {i}" for i in range(num)),
        "labels": tuple(int(i % 3 == 0) for i in range(num)),
        "classes": ("ham", "spam"),
        "groups": None,
        "notes": (),
    }
    return Dataset(**{**values, **fields})


def _folds(dataset: Dataset, **fields):
    return [
        split_dataset(dataset, DataConfig(folds=4, fold=fold, **fields))
        for fold in range(4)
    ]


def test_every_row_is_tested_once_and_every_class_is_in_every_fold():
    dataset, labels = _dataset(), np.asarray(_dataset().labels)
    splits = _folds(dataset)
    assert Counter(row for s in splits for row in s.test.tolist()) == Counter(range(60))
    for split in splits:
        rows = np.concatenate([*split.parts().values()])
        assert sorted(rows.tolist()) == list(range(60))
        assert np.bincount(labels[split.test]).tolist() == [10, 5]
        assert set(labels[split.validation]) == {0, 1}


def test_a_group_is_on_one_side_and_a_repeat_cuts_other_folds():
    groups = tuple(str(i // 3) for i in range(60))
    for split in _folds(_dataset(groups=groups)):
        sides = [{groups[row] for row in rows} for rows in split.parts().values()]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    first, other = (_folds(_dataset(), fold_repeat=r)[0].test.tolist() for r in (0, 1))
    assert first != other and len(first) == len(other)


def test_all_repeats_use_the_same_rows_where_classes_are_balanced():
    used = {
        tuple(sorted(np.concatenate([*split.parts().values()]).tolist()))
        for repeat in range(2)
        for split in _folds(_dataset(), fold_repeat=repeat, balance="undersample")
    }
    assert len(used) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fold": 1}, "fold=1 needs folds"),
        ({"folds": 3, "fold": 3}, "fold=3 is none of folds=3"),
        ({"folds": 3, "split_column": "part"}, "has no use with folds=3"),
        ({"folds": 3, "book": True}, "folds=3 has no use with book=True"),
        ({"folds": 1}, "folds=1 must be at least 2"),
    ],
)
def test_folds_that_are_none_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        DataConfig(**fields)


def test_the_commands_name_their_runs_before_any_is_made(capsys):
    assert main(["cv", "--folds", "3", "--repeats", "2", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["repeat=1-fold=2", "6 runs"]
    assert main(["sweep", "--seeds", "0-1", "--grid", "pool=mean", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "pool=mean-seed=0"
    both = ["--data", "a.csv", "--test-data", "b.csv"]
    assert "omit one" in error_line(capsys, ["cv", *both], 2)
    assert "omit one" in error_line(capsys, ["sweep", "--seeds", "0", "--seed", "1"], 2)


def test_data_with_parts_have_no_folds():
    dataset = _dataset(parts=("train", "test") * 30)
    with pytest.raises(DataError, match="has a split of its own; omit --folds"):
        split_dataset(dataset, DataConfig(folds=3))


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    config = run_config(tmp_path_factory, epochs=1, keep="last")
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, folds=2),
        baselines="none",
    )
    folder = tmp_path_factory.mktemp("cv") / "runs"
    return cross_validate(config, folder, repeats=2), folder


@pytest.mark.slow
def test_the_trunk_runs_once_for_all_folds(validated):
    found, _ = validated
    assert len(found.finished) == 4
    assert found.made["trunk"] == found.made["texts"] == found.made["tokens"] == 1


@pytest.mark.slow
def test_every_text_gets_probabilities_of_runs_that_never_saw_it(validated):
    found, folder = validated
    together = out_of_fold(found.finished)
    assert together.probabilities.shape == (2, 60, 2)
    assert together.rows.tolist() == list(range(60))
    for each in found.finished:
        data = each.member.config.data
        split = split_dataset(together.dataset, data)
        trained = {together.dataset.texts[row] for row in split.train}
        with (each.folder / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert not trained & {row["text"] for row in rows}
        for row, place in zip(rows, split.test, strict=True):
            expected = together.probabilities[data.fold_repeat, place, 1]
            assert float(row["p_spam"]) == expected
    lines = _csv(folder / OUT_OF_FOLD)
    assert [int(line["row"]) for line in lines] == list(range(1, 61))
    means = together.probabilities.mean(0)[:, 1]
    assert [float(line["p_spam"]) for line in lines] == pytest.approx(means, abs=1e-6)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_it_is_told_how_accurate_and_how_sure(validated):
    found, folder = validated
    told = "\n".join(found.told)
    assert (
        "out-of-fold accuracy: " in told
        and "60 texts, the mean of 2 repeats; below" in told
    )
    assert "Folds" in (folder / "report.html").read_text()
