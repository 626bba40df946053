"""`--compile-only`: what a run will need is in the cache before it begins."""

from __future__ import annotations

import json

import jax
import pytest
from training_helpers import error_line, run_config, shared_programs

from gpt2_jax.cli.main import main
from gpt2_jax.config import to_dict
from gpt2_jax.training.compile_only import compile_only
from gpt2_jax.training.finetune import finetune


@pytest.mark.slow
@pytest.mark.parametrize(
    "train",
    [
        {"schedule": "cosine"},
        {"trainable": ("last_two_blocks",)},
        {"trainable": ("lora",), "parallel": "pmap", "devices": 2},
        {"trainable": ("all",), "shard": "fsdp", "devices": 2},
    ],
    ids=["jit", "packed", "pmap", "fsdp"],
)
def test_the_run_compiles_nothing_more(train, tmp_path_factory, tmp_path):
    config = run_config(tmp_path_factory, **train)
    with shared_programs(tmp_path / "cache"):
        jax.clear_caches()
        found = compile_only(config, verbose=False)
        assert found.misses > 5
        jax.clear_caches()  # as a new process
        results = finetune(config, tmp_path / "run", verbose=False)
        assert results.compilation_cache["misses"] == 0
        assert results.compilation_cache["hits"] > 5
        jax.clear_caches()
        assert compile_only(config, verbose=False).misses == 0


@pytest.mark.slow
def test_it_writes_no_run(tmp_path_factory, tmp_path, monkeypatch, capsys):
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(run_config(tmp_path_factory))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "gpt2_jax.engine.compilation.keep_compiled_programs", lambda: None
    )
    argv = ["finetune", "--config", str(settings), "--compile-only", "--json"]
    with shared_programs(tmp_path / "cache"):
        jax.clear_caches()
        assert main([*argv, "--workdir", "run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path / "cache")
    kept = len([*(tmp_path / "cache").glob("*-cache")])
    assert told["misses"] + told["hits"] >= kept > 5
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "config.json"}


def test_without_a_cache_it_is_refused(capsys):
    line = error_line(capsys, ["finetune", "--compile-only"], 2)
    assert "keeps nothing" in line
