"""The second run of a command finds its programs compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from training_helpers import run_config

from gpt2_jax.cli.main import main
from gpt2_jax.config import to_dict
from gpt2_jax.engine.compilation import keep_compiled_programs


def _finetune(settings: Path, workdir: Path, cache: Path) -> dict:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "gpt2_jax", "finetune"]
    command += ["--config", str(settings), "--workdir", str(workdir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((workdir / "results.json").read_text())["compilation_cache"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is of Linux")
def test_a_second_run_compiles_nothing(tmp_path_factory, tmp_path):
    settings = tmp_path / "config.json"
    config = run_config(tmp_path_factory, epochs=1)
    settings.write_text(json.dumps(to_dict(config)))
    cache = tmp_path / "cache"
    cold = _finetune(settings, tmp_path / "b", cache)
    assert cold["misses"] > 10 > cold["hits"]
    warm = _finetune(settings, tmp_path / "c", cache)
    assert warm["misses"] == 0
    assert warm["hits"] >= cold["misses"]


@pytest.mark.parametrize("flags", [[], ["--no-compilation-cache"]])
def test_the_flag_keeps_no_programs(flags, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(
        "gpt2_jax.engine.compilation.keep_compiled_programs", lambda: kept.append(True)
    )
    assert main(["predict", str(tmp_path), "text", *flags]) == 5  # no run there
    assert kept == ([] if flags else [True])


def test_a_folder_named_by_the_user_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    name = "jax_compilation_cache_dir"
    before = jax.config.values[name]
    keep_compiled_programs()
    assert jax.config.values[name] == before


def test_each_python_and_jax_has_a_cache_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr("gpt2_jax.engine.compilation.cache_dir", lambda: tmp_path)
    kept = {}
    monkeypatch.setattr(jax.config, "update", kept.__setitem__)
    keep_compiled_programs()
    name = Path(kept["jax_compilation_cache_dir"]).name
    assert f"py3.{sys.version_info.minor}" in name and jax.__version__ in name
