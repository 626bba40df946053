"""The programs of a run by the compilers of GPUs and TPUs that are not here.

Without libtpu, or jax's CUDA plugin, the tests that need it are skipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from helpers import TINY

from gpt2_jax.cli.main import main
from gpt2_jax.config import PRESETS, TrainConfig
from gpt2_jax.engine.devices import DETERMINISTIC
from gpt2_jax.errors import UserError
from gpt2_jax.plan import aot, check
from gpt2_jax.plan.abstract import abstract_run
from gpt2_jax.plan.counting import collective_bytes, matmul_flops, wire_bytes
from gpt2_jax.plan.targets import TARGETS


def _is_installed(module: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None
    return False


needs_libtpu = pytest.mark.skipif(
    not _is_installed("libtpu"), reason="no libtpu; pip install '.[tpu]'"
)
needs_cuda = pytest.mark.skipif(
    not _is_installed("jax_plugins.xla_cuda13"),
    reason="no CUDA compiler; pip install --no-deps jax-cuda13-plugin jax-cuda13-pjrt",
)
# On 124M with the last block trained: the gradients, the loss, the sum of the weights.
_LAST_BLOCK = 4 * 7_090_946 + 8


def run_check(*arguments):
    """Run the command in a process of its own: compilers are configured once."""
    return subprocess.run(
        [sys.executable, "-m", "gpt2_jax", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def rows(*arguments, code=0):
    done = run_check(*arguments)
    assert done.returncode == code, done.stderr
    header, _, *lines = done.stdout.splitlines()
    names = [cell.strip() for cell in header.strip("|").split("|")]
    return [
        dict(zip(names, (c.strip() for c in line.strip("|").split("|")), strict=True))
        for line in lines
    ]


def sent(row):
    """Return {kind: bytes} of a row."""
    cell = row["MB that collectives return to a device"]
    pairs = [part.split() for part in cell.split(", ") if part != "0"]
    return {kind: round(float(size) * 1e6) for kind, size in pairs}


def test_bytes_are_those_of_every_result_of_every_collective():
    hlo = """
      %a = f32[2,3]{1,0} all-reduce(%x), replica_groups={}
      %b = (f32[4]{0}, bf16[8]{0}) all-reduce-start(%y, %z)
      %c = f32[10]{0} all-reduce-done(%b)
      %d = s32[] all-gather(%w), dimensions={0}
      %e = f32[100]{0} add(%a, %a)
      %f = (f32[8]{0}, f32[32]{0}) all-gather-start(%e), dimensions={0}
      %g = ((f32[8]{0}, bf16[8]{0}), (f32[2]{0}, bf16[2]{0})) reduce-scatter-start(%f)
      %h = (f32[2]{0}, bf16[2]{0}) reduce-scatter-done(%g)
      %i = ((bf16[8]{0}), bf16[8]{0}) all-to-all-start(%h), dimensions={0}
    """
    assert collective_bytes(hlo) == {
        "all-reduce": 24 + 16 + 16,
        "all-gather": 4 + 4 * 32,
        "reduce-scatter": 8 + 4,
        "all-to-all": 16,
    }


_LOOPS = """
%inner (p: f32[4]) -> f32[4] {
  %g = f32[8]{0} all-gather(%p), channel_id=1, dimensions={0}
  %h = f32[8]{0} fusion(%p), kind=kLoop, calls=%fused
}

%fused (p: f32[4]) -> f32[8] {
  %part = f32[8]{0} all-gather(%p), channel_id=1, dimensions={0}
}

%steps (p: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%p), condition=%cond, body=%inner TRIPS
  %s = f32[6]{0} all-reduce(%w), channel_id=2
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%p), condition=%cond, body=%steps
}
"""


def test_a_transfer_counts_once_in_each_round_of_its_loop():
    # One channel in two instructions is one transfer; the steps go round once.
    untold = _LOOPS.replace("TRIPS", "")
    assert collective_bytes(untold, 5) == {"all-gather": 5 * 32, "all-reduce": 24}
    told = _LOOPS.replace("TRIPS", ', backend_config={"known_trip_count":{"n":"3"}}')
    assert collective_bytes(told, 5)["all-gather"] == 3 * 32


_WINDOWS = """
%to_eight (p: (u32[], f32[4])) -> pred[] {
  %p = (u32[], f32[4]{0}) parameter(0)
  %end = u32[] constant(8)
  %at = u32[] get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%at, %end), direction=LT
}

%by_two (p: (u32[], f32[4])) -> (u32[], f32[4]) {
  %two = u32[] constant(2)
  %at = u32[] get-tuple-element(%p), index=0
  %next = u32[] add(%at, %two)
  %c = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%p), channel_id=1
  ROOT %both = (u32[], f32[4]{0}) tuple(%next, %c)
}

%steps (p: f32[4]) -> f32[4] {
  %w = (u32[], f32[4]{0}) while(%p), condition=%to_eight, body=%by_two
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%p), condition=%cond, body=%steps
}
"""


def test_a_loop_that_does_not_tell_its_rounds_counts_to_its_end():
    # The windows of a TPU: its counter goes to 8 by two, whatever other loops do.
    assert collective_bytes(_WINDOWS, 11) == {"collective-permute": 4 * 16}


def test_sums_of_one_channel_are_transfers_of_their_own():
    hlo = """
      %a = f32[2]{0} all-reduce(%x), channel_id=1
      %b = f32[2]{0} all-reduce(%y), channel_id=1
    """
    assert collective_bytes(hlo) == {"all-reduce": 16}


def test_a_ring_sends_a_sum_twice_and_what_is_gathered_once():
    assert wire_bytes({"all-reduce": 800, "all-gather": 80}, 8) == 1400 + 70
    assert wire_bytes({"all-reduce": 800}, 1) == 0


def test_flops_are_those_of_every_matmul_in_every_round():
    kernel = jnp.ones((4, 4))

    def rounds(x):
        return jax.lax.scan(lambda y, _: (y @ kernel, None), x, None, length=3)[0]

    x = jnp.ones((2, 4))
    assert matmul_flops(rounds, x) == 3 * 2 * 2 * 4 * 4
    assert matmul_flops(jax.jit(lambda x: x @ kernel), x) == 2 * 2 * 4 * 4


@pytest.mark.parametrize(
    "name", ["v5e:2", "v9:2x2", "v5e:2xtwo", "h100:2x2", "h100:0", "b200"]
)
def test_a_target_that_is_none_is_refused(name):
    with pytest.raises(UserError, match="such as h100:8, v5e:2x4"):
        check.target_devices(name)


@pytest.mark.parametrize(
    ("target", "how"),
    [("v5e:2x4", "'gpt2-jax[tpu]'"), ("l4", "--no-deps jax-cuda13-plugin")],
)
@pytest.mark.parametrize("command", ["check --target", "tpu-check --topology"])
def test_without_the_compiler_it_is_named(target, how, command, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*command.split(), target]) == 3
    assert f"pip install {how}" in capsys.readouterr().err


def test_float32_is_as_slow_as_its_precision():
    config = PRESETS["mini"]
    for name, slower in (("v6e", 6), ("a100", 8), ("t4", 1)):
        exact, half = (
            TARGETS[name].peak(dataclasses.replace(config, **changes))
            for changes in ({}, {"precision": "default"})
        )
        assert half / exact == pytest.approx(slower)


@pytest.mark.slow
def test_every_block_of_params_that_are_cut_counts():
    config = dataclasses.replace(TINY, embed_dim=64, num_layers=4, num_classes=2)
    flops, found = {}, {}
    for shard in ("none", "fsdp"):
        train = TrainConfig(trainable=("all",), shard=shard, batch_size=8)
        run, devices = abstract_run(config, train), jax.devices()[:2]
        work = aot.prepare("train", run, train, devices, 16)
        hlo = work.program.lower(*work.arguments).compile().as_text()
        flops[shard], found[shard] = work.flops(), collective_bytes(hlo, 3)
    # The forward pass of all blocks but the last is computed once more.
    assert 1.1 < flops["fsdp"] / flops["none"] < 1.4
    # Params are gathered once for each pass, those of the ends once in all.
    whole = found["none"]["all-reduce"]
    assert 1.5 < found["fsdp"]["all-gather"] / whole < 2


@needs_cuda
@pytest.mark.slow
def test_gpus_take_the_attention_that_they_have():
    config = dataclasses.replace(
        TINY, dtype="bfloat16", embed_dim=16, num_heads=2, num_classes=2
    )
    done = subprocess.run(
        [sys.executable, "-c", _ATTENTION.format(config=config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["a100", "cuDNN", "t4", "XLA"]


_ATTENTION = """
from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.plan import check
from gpt2_jax.plan.cases import Case
check.prepare_compiler(["a100"])
for name in ("a100", "t4"):
    need = check.check(Case(name, (), "trunk", {config}, TrainConfig(), 16))
    assert need.fits and need.memory > 0 and need.flops > 0
    print(name, need.attention)
"""


@needs_cuda
@pytest.mark.slow
@pytest.mark.parametrize("target", ["h100", "a100", "l4", "t4"])
def test_124m_fits_each_gpu(target):
    found = rows("--target", target, "--weights", "124M", "--dtype", "bfloat16")
    assert [row["program"] for row in found] == [
        "trunk",
        "train",
        "evaluate",
        "predict",
    ]
    assert {row["fits"] for row in found} == {"yes"}
    fused = "XLA" if target == "t4" else "cuDNN"
    assert found[0]["attention"] == fused


@needs_cuda
@pytest.mark.slow
def test_1558m_fits_eight_gpus_that_share_it():
    asked = ["--weights", "1558M", "--trainable", "all", "--dtype", "bfloat16"]
    (row,) = rows(
        *("--target", "h100:8", "--shard", "fsdp", "--programs", "train", *asked)
    )
    assert row["fits"] == "yes"
    memory = float(row["GiB of a chip"].partition(" of ")[0])
    assert memory < 6  # params, gradients and AdamW's two moments whole are 23.2
    # The ends and the last block once; 47 blocks, already in bfloat16, for two passes.
    gathered = 4 * (82_052_800 + 30_740_800) + 2 * 2 * 47 * 30_740_800
    assert sent(row)["all-gather"] == pytest.approx(gathered, rel=0.002)
    # Each gets its eighth of the gradients of the 48 blocks, summed in bfloat16.
    assert sent(row)["reduce-scatter"] == pytest.approx(48 * 30_740_800 / 4, rel=0.01)


@needs_cuda
@pytest.mark.slow
def test_atomics_are_replaced_where_bits_must_be_the_same():
    code = _SCATTER.format(config=dataclasses.replace(TINY, num_classes=2))
    for flags, expected in ("", "False"), (DETERMINISTIC, "True"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == expected, done.stderr


# Does each sum into the embeddings get sorted, distinct rows?
_SCATTER = """
from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.plan import aot, check
from gpt2_jax.plan.abstract import abstract_run
check.prepare_compiler(["a100"])
train = TrainConfig(trainable=("all",))
run = abstract_run({config}, train)
hlo = aot.compile_train(run, train, check.target_devices("a100"), 16).as_text()
sums = [line for line in hlo.splitlines() if " scatter(" in line]
assert sums
print(all("unique_indices=true" in line for line in sums))
"""


@needs_libtpu
@pytest.mark.slow
def test_a_slice_that_does_not_exist_is_refused():
    done = run_check("--target", "v5e:3x5")
    assert done.returncode == 2
    assert "v5e:3x5: no such slice" in done.stderr


@needs_libtpu
@pytest.mark.slow
def test_another_process_that_has_the_compiler_is_no_hindrance():
    code = "from gpt2_jax.plan import check; check.prepare_compiler(['v5e'])\n"
    code += "print(len(check.target_devices('v5e:2x2')), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "4\n"
        done = run_check("--target", "v5e:3x5")  # asks the compiler, and is told
        other.communicate("\n")
    assert "no such slice" in done.stderr


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "target, wrappers",
    [
        ("v5e:2x4", ("jit", "pmap")),
        ("v6e:2x2", ("jit",)),
        ("v5p:2x2x1", ("jit",)),
        ("v4:2x2x1", ("jit",)),
        ("tpu7x:2x2x1", ("jit",)),
    ],
)
def test_the_last_block_fits_each_kind_and_sends_its_gradients_alone(target, wrappers):
    last_block = ["--weights", "124M", "--dtype", "bfloat16", "--programs", "train"]
    found = rows("--target", target, *last_block, "--parallel", *wrappers)
    assert [row["wrapper"] for row in found] == [*wrappers]
    for row in found:
        assert row["fits"] == "yes"
        assert sent(row) == {"all-reduce": pytest.approx(_LAST_BLOCK, rel=0.01)}


@needs_libtpu
@pytest.mark.slow
def test_what_does_not_fit_is_said_and_fsdp_makes_it_fit():
    big = ["--target", "v5e:2x2", "--trainable", "all"]
    big += ["--batch-size", "128", "--max-length", "1024", "--programs", "train"]
    (row,) = rows(*big, code=3)
    assert row["fits"].startswith("no")
    (row,) = rows(*big, "--shard", "fsdp")
    assert row["fits"] == "yes"
    # Cut, and gathered: the ends and the last block once, the others for two passes.
    gathered = 4 * (13_128_448 + 789_760 + 2 * 11 * 789_760)
    assert sent(row)["all-gather"] == pytest.approx(gathered, rel=0.02)
