"""`gpt2-jax inspect` tells what lies at a path, without the devices that wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from helpers import TINY, random_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1
from training_helpers import error_line, random_run

from gpt2_jax.checkpoints.manifest import Manifest
from gpt2_jax.cli.main import main
from gpt2_jax.export.inspect_path import inspect_path
from gpt2_jax.weights import orbax_folder

_GOLDEN = Path(__file__).parents[1] / "golden" / "weights"


def _tree():
    """A pytree over two devices: 8 x 2 bfloat16, and a step."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    cut = NamedSharding(mesh, PartitionSpec("data"))
    kernel = jax.device_put(jnp.ones((8, 2), jnp.bfloat16), cut)
    return {"a": {"kernel": kernel}, "b": jnp.zeros(3)}


def _save_v0(folder):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, _tree())


def _save_v1(folder):
    v1.save(folder, _tree())


@pytest.mark.parametrize("save", [_save_v0, _save_v1])
def test_a_tree_of_orbax_is_told(save, tmp_path):
    save(tmp_path / "it")
    told = list(inspect_path(tmp_path / "it"))
    assert "  a/kernel  [8, 2]  bfloat16  32 bytes" in told
    assert "  b  [3]  float32  12 bytes" in told
    assert "2 leaves, 19 numbers, 44 bytes" in told


@pytest.mark.slow
def test_the_devices_that_wrote_it_need_not_be_there(tmp_path):
    _save_v0(tmp_path / "it")
    done = subprocess.run(
        [sys.executable, "-m", "gpt2_jax", "inspect", str(tmp_path / "it")],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},  # one device
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "  a/kernel  [8, 2]  bfloat16  32 bytes\n" in done.stdout


def test_a_checkpoint_says_its_step_and_how_it_is_resumed(tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "7"
    _save_v0(folder)
    Manifest(7, 0.5, {}, "", {}, {}, {"x": ""}).write(folder)
    told = "\n".join(inspect_path(tmp_path / "run"))
    assert "step 7, score 0.5, 1 files" in told
    assert f"use: gpt2-jax finetune --resume --workdir {tmp_path / 'run'}" in told
    (folder / "manifest.json").write_text("{}")
    assert any(line.startswith("damaged: ") for line in inspect_path(folder))


def test_what_convert_wrote_is_weights(tmp_path):
    orbax_folder.write(tmp_path / "it", TINY, random_params(TINY))
    told = list(inspect_path(tmp_path / "it"))
    shape = [TINY.vocab_size, TINY.embed_dim]
    assert any(f"wte/embedding  {shape}  float32" in line for line in told)
    assert told[-1].startswith(f"use: gpt2-jax finetune --weights {tmp_path / 'it'}")


def test_a_run_is_a_classifier(tmp_path, capsys):
    run = random_run(tmp_path / "run")
    assert main(["inspect", str(run)]) == 0
    told = capsys.readouterr().out
    assert "a trained classifier of ham, spam" in told
    assert "precision='highest'" in told
    assert f"use: gpt2-jax predict, evaluate, export or serve {run}" in told


@pytest.mark.parametrize("name", ["book.pth", "nanogpt.safetensors", "hf_bin_sharded"])
def test_weights_of_others_are_listed(name):
    told = list(inspect_path(_GOLDEN / name))
    assert told[0] == f"{_GOLDEN / name}: weights"
    assert sum(line.endswith(" bytes") for line in told) > 10


def test_what_is_nothing_of_the_kind_is_refused(tmp_path, capsys):
    assert "no such file" in error_line(capsys, ["inspect", str(tmp_path / "no")], 5)
    assert str(tmp_path) in error_line(capsys, ["inspect", str(tmp_path)], 5)
