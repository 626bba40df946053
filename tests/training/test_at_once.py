"""Runs in threads, and several at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from training_helpers import compilations, finished_run, losses, run_config

from gpt2_jax import Memo
from gpt2_jax.training.finetune import finetune


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
