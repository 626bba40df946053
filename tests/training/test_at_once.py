"""Runs in threads, and several at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import orbax.checkpoint as ocp
import pytest
from helpers import TINY
from training_helpers import (
    compilations,
    finished_run,
    losses,
    run_config,
    start_with_sgd,
)

from gpt2_jax import Memo
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights import orbax_folder


def test_saves_of_a_process_begin_one_after_the_other(tmp_path, monkeypatch):
    """orbax numbers saves for the process, and waits for folders by that number."""
    real, under_way, most = ocp.StandardCheckpointer.save, [], []

    def save(self, folder, *arguments):
        under_way.append(folder)
        time.sleep(0.1)
        most.append(len(under_way))
        real(self, folder, *arguments)
        under_way.remove(folder)

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", save)
    _, params, labels, state = start_with_sgd("head", "last_real", depth=3)

    def checkpoint(name):
        with Checkpoints(tmp_path / name, labels) as checkpoints:
            checkpoints.save(state, {}, None)
            checkpoints.finish()
            return checkpoints.newest

    with ThreadPoolExecutor(3) as threads:
        saved = [threads.submit(checkpoint, name) for name in ("a", "b")]
        weights = threads.submit(orbax_folder.write, tmp_path / "c", TINY, params)
        assert [save.result() for save in saved] == [0, 0]
        weights.result()
    assert most == [1, 1, 1]


@pytest.mark.slow
def test_two_runs_at_once_are_each_the_run_alone(tmp_path_factory, tmp_path, capsys):
    config = run_config(tmp_path_factory)
    expected = losses(finished_run(tmp_path_factory))
    capsys.readouterr()
    with ThreadPoolExecutor(2) as threads:
        runs = [
            threads.submit(finetune, config, tmp_path / name, verbose=False)
            for name in ("a", "b")
        ]
        for run in runs:
            assert run.result().steps == 10
    for name in ("a", "b"):
        assert losses(tmp_path / name) == expected
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_second_run_with_the_same_memo_compiles_nothing(tmp_path_factory, tmp_path):
    config, memo = run_config(tmp_path_factory), Memo()
    runs = []
    for name in ("first", "second"):
        with compilations() as counts:
            finetune(config, tmp_path / name, memo=memo, verbose=False)
        runs.append(counts)
    assert runs[0]["train_steps"] > 0
    assert not runs[1]
    assert losses(tmp_path / "first") == losses(tmp_path / "second")
