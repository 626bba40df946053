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

from gpt2_jax.compilation import keep_compiled_programs
from gpt2_jax.config import to_dict


def _finetune(settings: Path, workdir: Path, cache: Path, *flags: str) -> dict:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "gpt2_jax", "finetune", *flags]
    command += ["--config", str(settings), "--workdir", str(workdir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((workdir / "results.json").read_text())["compilation_cache"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is of Linux")
def test_a_second_run_compiles_nothing_and_the_flag_leaves_no_cache(
    tmp_path_factory, tmp_path
):
    settings = tmp_path / "config.json"
    config = run_config(tmp_path_factory, epochs=1)
    settings.write_text(json.dumps(to_dict(config)))
    cache = tmp_path / "cache"
    without = _finetune(settings, tmp_path / "a", cache, "--no-compilation-cache")
    assert without == {"hits": 0, "misses": 0}
    assert not (cache / "gpt2-jax").exists()
    cold = _finetune(settings, tmp_path / "b", cache)
    assert cold["misses"] > 10 > cold["hits"]
    warm = _finetune(settings, tmp_path / "c", cache)
    assert warm["misses"] == 0
    assert warm["hits"] >= cold["misses"]


def test_a_folder_named_by_the_user_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before
