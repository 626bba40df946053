"""What a sweep is told: seeds, fields and values, files, and what is drawn of them."""

from __future__ import annotations

import json

import pytest

from gpt2_jax.config import DataConfig, FinetuneConfig, TrainConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.errors import UserError
from gpt2_jax.sweeps.folds import cross_validate
from gpt2_jax.sweeps.members import folds_of, in_order, members_of, parse_seeds
from gpt2_jax.sweeps.run import runs_at_once
from gpt2_jax.sweeps.sweep import sweep
from gpt2_jax.workdir.claim import claim

BASE = FinetuneConfig(data=DataConfig(source="demo"))


def _members(*grid: str, **fields):
    return members_of(BASE, SweepConfig(grid=grid, **fields))


def test_every_seed_meets_every_combination():
    members = _members(
        "train.learning_rate=3e-4,1e-3", "train.trainable=head,lora", seeds="0-1"
    )
    found = {
        (m.config.train.learning_rate, m.config.train.trainable, m.config.train.seed)
        for m in members
    }
    assert len(members) == len({m.name for m in members}) == len(found) == 8
    assert (1e-3, ("lora",), 1) in found
    assert members[0].name == "learning_rate=0.0003,trainable=head-seed=0"
    assert len({m.setting for m in members}) == 4


def test_values_have_the_type_of_their_field():
    (one, two) = _members('train.trainable=["h_11/.*","out_head/.*"],head')
    assert one.config.train.trainable == ("h_11/.*", "out_head/.*")
    assert two.config.train.trainable == ("head",)
    (numbers,) = _members("data.label_column=1")
    assert numbers.config.data.label_column == "1"
    assert _members("data.split=[0.6,0.2,0.2]")[0].config.data.split == (0.6, 0.2, 0.2)
    assert [m.config.causal for m in _members("causal=true,false")] == [True, False]
    assert _members("max_length=null,9")[1].config.max_length == 9


def test_a_name_is_one_of_a_folder_and_tells_settings_apart():
    names = [
        m.name for m in _members('train.trainable="a/.*","a_.*","' + "x" * 99 + '"')
    ]
    assert len(set(names)) == 3
    assert not {c for name in names for c in name} & set("/* \\:")
    assert max(map(len, names)) < 110


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("train.rate=1", "train.rate: no such field of config.json"),
        ("train.seed=1,2", "seeds are given with --seeds"),
        ("train.epochs=two", "expected int, got 'two'"),
        ("train.epochs=0", "epochs=0 must be positive"),
        ("train.epochs", "expected FIELD=V1,V2"),
        ("train.epochs=1,", "comma"),
        ('train.trainable=["head"', "no JSON"),
        ("train.epochs=1,1", "stands twice"),
        ("train.learning_rate=1e-4..1e-2", "a range needs --samples"),
        ("pool=first..last", "no"),
    ],
)
def test_what_cannot_be_swept_is_said(grid, words):
    with pytest.raises(UserError, match=words):
        _members(grid)


@pytest.mark.parametrize(
    ("backend", "processes", "devices", "together", "runs"),
    [
        ("cpu", 1, None, None, 1),
        ("cpu", 1, None, 4, 4),
        ("gpu", 1, None, None, 64),
        ("gpu", 1, 1, None, 8),
        ("gpu", 1, None, 1, 1),
        ("tpu", 2, None, 4, 1),
    ],
)
def test_runs_train_together_where_it_gains(
    backend, processes, devices, together, runs, monkeypatch
):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    monkeypatch.setattr("jax.process_count", lambda: processes)
    monkeypatch.setattr("jax.device_count", lambda: 8)
    config = FinetuneConfig(train=TrainConfig(devices=devices))
    assert runs_at_once(SweepConfig(together=together), config) == runs


def test_seeds_are_numbers_and_ranges():
    assert parse_seeds("0-2,7, 9-10") == [0, 1, 2, 7, 9, 10]
    for wrong in ("3-1", "a", "1,,2", "-1", "", "1,0-2"):
        with pytest.raises(UserError, match="--seeds"):
            parse_seeds(wrong)


def test_settings_are_drawn_the_same_each_time_and_within_their_range():
    grid = ("train.learning_rate=1e-4..1e-2", "train.batch_size=4..32")
    one, other = (_members(*grid, samples=20) for _ in range(2))
    assert one == other and len({m.config for m in one}) == 20
    rates = [m.config.train.learning_rate for m in one]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert sum(rate < 1e-3 for rate in rates) >= 5  # evenly in the logarithm
    assert one != _members(*grid, samples=20, sample_seed=1)
    with pytest.raises(UserError, match="has 2 settings"):
        _members("train.epochs=1,2", samples=3)


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"train.epochs": [1, 2], "pool": ["mean"]}))
    assert len(members_of(BASE, SweepConfig(grid_file=path))) == 2
    settings = [{"train.epochs": 1}, {"train.trainable": ["head"], "pool": "mean"}]
    path.write_text(json.dumps(settings))
    members = members_of(BASE, SweepConfig(grid_file=path, seeds="0-1"))
    assert [m.config.pool for m in members] == ["last_real"] * 2 + ["mean"] * 2
    path.write_text("[1]")
    with pytest.raises(UserError, match="expected"):
        members_of(BASE, SweepConfig(grid_file=path))


def test_runs_that_share_a_trunk_come_one_after_the_other():
    members = _members(
        "train.learning_rate=3e-4,1e-3", "train.trainable=head,lora", seeds="0-1"
    )
    order = [m.config.train.trainable for m in in_order(members)]
    assert order == [("head",)] * 4 + [("lora",)] * 4
    assert sorted(m.name for m in in_order(members)) == sorted(m.name for m in members)


def test_folds_share_all_but_the_test_part():
    base = FinetuneConfig(data=DataConfig(folds=3), train=TrainConfig(seed=5))
    members = folds_of(base, repeats=2)
    assert len({m.name for m in members}) == 6
    assert {m.config.data.of_all_folds() for m in members} == {base.data}


@pytest.mark.parametrize("name", ["config.json", "cv.json"])
def test_a_folder_with_other_results_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"already \\({name}\\); choose another"):
        sweep(BASE, SweepConfig(), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [name]
    (tmp_path / name).rename(tmp_path / "sweep.json")
    with pytest.raises(UserError, match="holds a sweep already"):
        claim(tmp_path, BASE, {}, resume=True)
    with pytest.raises(UserError, match="holds a sweep already"):
        cross_validate(BASE, tmp_path)


def test_what_is_drawn_from_too_small_a_range_is_told_so():
    with pytest.raises(UserError, match="the grid has 3 settings; draw fewer"):
        _members("train.epochs=1..3", samples=5)
