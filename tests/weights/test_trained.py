"""A run of ours is a file of weights too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, random_params

from gpt2_jax.errors import WeightsError
from gpt2_jax.model.tree import flatten
from gpt2_jax.storage.sealed import SEAL
from gpt2_jax.weights.pretrained import load_pretrained, read_pretrained
from gpt2_jax.weights.trained import MODEL_FILE, PARAMS_FILE, TrainedModel, save_model

CONFIG = dataclasses.replace(TINY, num_classes=2, pool="first")


@pytest.fixture
def run(tmp_path) -> Path:
    trained = TrainedModel(CONFIG, random_params(CONFIG), ("ham", "spam"), 9)
    save_model(tmp_path / "run" / "model", trained)
    return tmp_path / "run"


@pytest.mark.parametrize("part", ["", "model"])
def test_a_run_loads_with_its_head_bit_for_bit(run, part):
    config, params = load_pretrained(run / part)
    assert config == CONFIG
    expected = flatten(random_params(CONFIG))
    assert set(flatten(params)) == set(expected)
    for path, leaf in flatten(params).items():
        assert leaf.tobytes() == expected[path].tobytes(), path


def test_a_run_tells_its_labels_and_length(run):
    found = read_pretrained(run)
    assert (found.classes, found.max_length) == (("ham", "spam"), 9)


def test_a_run_in_bfloat16(run):
    _, params = load_pretrained(run, dtype="bfloat16")
    assert {str(leaf.dtype) for leaf in flatten(params).values()} == {"bfloat16"}


@pytest.mark.fault(8)
def test_a_damaged_run_is_refused(run):
    path = run / "model" / PARAMS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        load_pretrained(run)


def test_a_run_of_an_earlier_version_is_read_and_checked(run):
    path = run / "model" / MODEL_FILE
    values = json.loads(path.read_text())
    del values[SEAL]
    values["params_sha256"] = values.pop("sha256")[PARAMS_FILE]
    path.write_text(json.dumps(values))
    assert load_pretrained(run)[0] == CONFIG
    path.write_text(json.dumps(values | {"params_sha256": "0"}))
    with pytest.raises(WeightsError, match=f"{PARAMS_FILE}: damaged"):
        load_pretrained(run)


def test_a_run_without_the_hash_of_its_params_is_refused(run):
    path = run / "model" / MODEL_FILE
    values = json.loads(path.read_text()) | {"sha256": {}}
    del values[SEAL]
    path.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=f"no hash of {PARAMS_FILE}"):
        load_pretrained(run)


def test_a_run_that_is_not_finished_is_refused_with_the_way_on(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}))
    with pytest.raises(WeightsError, match=r"a run that is not finished.*--resume"):
        load_pretrained(tmp_path)


def test_the_params_of_a_run_alone_are_no_weights(run):
    with pytest.raises(WeightsError, match="named like 0"):
        load_pretrained(run / "model" / PARAMS_FILE)
    assert np.isfinite(flatten(load_pretrained(run)[1])["wte/embedding"]).all()


@pytest.mark.fault(8)
def test_a_damaged_name_of_the_seal_is_noticed(run):
    path = run / "model" / MODEL_FILE
    damaged = path.read_text().replace(SEAL, "x" * len(SEAL)).replace("ham", "jam")
    path.write_text(damaged)
    with pytest.raises(WeightsError, match="unknown keys xxx"):
        read_pretrained(run)
