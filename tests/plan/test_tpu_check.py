"""The train step by the TPU's own compiler; without libtpu these tests are skipped."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys

import jax
import pytest
from helpers import TINY

from gpt2_jax.cli.main import main
from gpt2_jax.config import TrainConfig
from gpt2_jax.errors import UserError
from gpt2_jax.plan import aot, tpu_check
from gpt2_jax.plan.aot import collective_bytes

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu; pip install '.[tpu]'",
)


def rows(*arguments, code=0):
    """Run the command in a process of its own: libtpu is one process's."""
    done = subprocess.run(
        [sys.executable, "-m", "gpt2_jax", "tpu-check", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == code, done.stderr
    header, _, *lines = done.stdout.splitlines()
    names = [cell.strip() for cell in header.strip("|").split("|")]
    return [
        dict(zip(names, (c.strip() for c in line.strip("|").split("|")), strict=True))
        for line in lines
    ]


def test_bytes_are_those_of_every_result_of_every_collective():
    hlo = """
      %a = f32[2,3]{1,0} all-reduce(%x), replica_groups={}
      %b = (f32[4]{0}, bf16[8]{0}) all-reduce-start(%y, %z)
      %c = f32[10]{0} all-reduce-done(%b)
      %d = s32[] all-gather(%w), dimensions={0}
      %e = f32[100]{0} add(%a, %a)
    """
    assert collective_bytes(hlo) == {"all-reduce": 24 + 16 + 16, "all-gather": 4}


@pytest.mark.parametrize("topology", ["v5e", "v9:2x2", "v5e:2", "v5e:2xtwo"])
def test_a_slice_that_is_none_is_refused(topology):
    with pytest.raises(UserError, match="such as v5e:2x4"):
        tpu_check.slice_devices(topology)


def test_without_the_compiler_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["tpu-check"]) == 3
    assert "pip install 'gpt2-jax[tpu]'" in capsys.readouterr().err


@needs_libtpu
def test_a_slice_that_does_not_exist_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "gpt2_jax", "tpu-check", "--topology", "v5e:3x5"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "v5e:3x5: no such slice" in done.stderr


@pytest.mark.slow
def test_every_block_of_params_that_are_cut_counts():
    # The forward pass of all blocks but the last is computed once more.
    config = dataclasses.replace(TINY, embed_dim=64, num_layers=4, num_classes=2)
    flops, sent = {}, {}
    for shard in ("none", "fsdp"):
        train = TrainConfig(trainable=("all",), shard=shard, batch_size=8)
        run, devices = aot.abstract_run(config, train), jax.devices()[:2]
        compiled = aot.compile_train(run, train, devices, 16)
        flops[shard], sent[shard] = aot.step_costs(
            config, train, devices, 16, compiled, run.depth
        )
    assert 1.1 < flops["fsdp"] / flops["none"] < 1.4
    # Params are gathered twice, and gradients are added up, whole or in parts.
    assert 1.5 < sent["fsdp"] / sent["none"] < 4


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "topology, models, wrappers",
    [
        ("v5e:2x4", ("mini", "1558M"), ("jit", "pmap")),
        ("v6e:2x2", ("1558M",), ("jit",)),
        ("v5p:2x2x1", ("1558M",), ("jit",)),
        ("v4:2x2x1", ("1558M",), ("jit",)),
    ],
)
def test_the_last_block_fits_each_kind_and_sends_its_gradients_alone(
    topology, models, wrappers
):
    found = rows("--topology", topology, "--weights", *models, "--parallel", *wrappers)
    assert [(row["model"], row["wrapper"]) for row in found] == [
        (model, wrapper) for model in models for wrapper in wrappers
    ]
    trained = {"mini": 790_786, "1558M": 30_741_602}
    cores = 2 if topology.startswith("v4") else 1
    for row in found:
        assert row["fits"] == "yes"
        sent = float(row["MB sent of a chip and step"]) * 1e6 / cores
        assert sent == pytest.approx(4 * trained[row["model"]], rel=0.001)


@needs_libtpu
@pytest.mark.slow
def test_what_does_not_fit_is_said_and_fsdp_makes_it_fit():
    big = ["--topology", "v5e:2x2", "--weights", "124M", "--trainable", "all"]
    big += ["--batch-size", "128", "--max-length", "1024"]
    (row,) = rows(*big, code=3)
    assert row["fits"].startswith("no")
    (row,) = rows(*big, "--shard", "fsdp")
    assert row["fits"] == "yes"
