"""What a run will call is compiled while its trunk runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.monitoring
import pytest
from training_helpers import run_config

from gpt2_jax.engine import trunk
from gpt2_jax.errors import UserError
from gpt2_jax.training import build, rehearsal
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.rehearsal import compiling_beside
from gpt2_jax.workdir.clock import BESIDE, Clock
from gpt2_jax.workdir.signals import Interrupted

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextmanager
def _compiled() -> Iterator[list[tuple[str, str]]]:
    """Collect the thread and the name of each program that is compiled."""
    found: list[tuple[str, str]] = []

    def listen(event: str, duration_secs: float, **told: str | int) -> None:
        if event == _COMPILED:
            name = str(told["fun_name"]).removeprefix("jit(").removesuffix(")")
            found.append((threading.current_thread().name, name))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"trainable": ("head",)},
        {"trainable": ("last_two_blocks",), "epochs": 2},
        {"clip_norm": None, "schedule": "constant"},
        pytest.param({"trainable": ("lora",)}, id="no trunk"),
    ],
    ids=str,
)
def test_steps_are_compiled_beside_the_trunk(train, tmp_path_factory, tmp_path):
    jax.clear_caches()
    with _compiled() as found:
        finetune(run_config(tmp_path_factory, **train), tmp_path / "run", verbose=False)
    threads: dict[str, set[str]] = {}
    for thread, name in found:
        threads.setdefault(name, set()).add(thread)
    for name, used in threads.items():
        if name.startswith(("train_", "predict_rows", "predict_packed")):
            beside = "lora" not in train.get("trainable", ())
            assert used == {"compile" if beside else "MainThread"}, (name, used)
    assert any(name.startswith("train_") for name in threads)


def test_what_is_waited_for_after_the_trunk_is_no_time_of_it():
    clock = Clock()
    stop = SimpleNamespace(poll=lambda: None)
    run: Any = SimpleNamespace(phase=clock.phase, stop=stop)
    nothing: Any = None
    steps: Any = SimpleNamespace(shapes=lambda state: state)

    def first_state() -> Any:
        time.sleep(1)
        raise UserError("said where the state is needed")

    with (
        clock.phase("trunk"),
        compiling_beside(nothing, run, nothing, steps, first_state),
    ):
        pass
    assert clock.seconds["compile"] > 0.9
    assert clock.seconds["trunk"] < clock.seconds["compile"]


def test_a_trunk_that_fails_leaves_no_thread(tmp_path_factory, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise UserError("no trunk")

    monkeypatch.setattr(build, "reuse_trunk", fail)
    with pytest.raises(UserError, match="no trunk"):
        finetune(run_config(tmp_path_factory), tmp_path / "run", verbose=False)
    assert "compile" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("name", "counts"), [(BESIDE, False), ("another", True)])
def test_what_is_compiled_beside_a_run_is_no_time_of_it(name, counts):
    """Runs that train together compile in the thread of their sweep: they wait."""
    clock = Clock()
    program = jax.jit(lambda x: x + 1)
    with clock.compiling():
        other = threading.Thread(target=lambda: program.lower(2.0).compile(), name=name)
        other.start()
        other.join()
    assert (clock.compiling_seconds > 0) is counts


def test_a_signal_is_heard_between_two_programs():
    compiled: list[None] = []
    nothing: Any = None
    slow = SimpleNamespace(compile=lambda: compiled.append(time.sleep(0.3)))
    call = SimpleNamespace(program=SimpleNamespace(lower=lambda: slow), arguments=())

    def poll() -> None:
        if compiled:
            raise Interrupted(2, "a signal")

    stop = SimpleNamespace(poll=poll)
    run: Any = SimpleNamespace(phase=Clock().phase, stop=stop)
    steps: Any = SimpleNamespace(shapes=lambda state: state)
    with (
        mock.patch.object(rehearsal, "_calls", lambda *_: iter([call] * 100)),
        pytest.raises(Interrupted),
        compiling_beside(nothing, run, nothing, steps, lambda: nothing),
    ):
        pass
    assert len(compiled) < 5


def test_outputs_to_come_have_the_shapes_of_those_that_came(
    tmp_path_factory, monkeypatch, tmp_path
):
    came = []
    real = trunk.run_trunk

    def run_trunk(config: Any, params: Any, texts: Any, depth: int, *rest: Any, **how):
        outputs = real(config, params, texts, depth, *rest, **how)
        came.append((trunk.outputs_to_come(config, texts, depth), outputs))
        return outputs

    monkeypatch.setattr("gpt2_jax.engine.trunk_cache.run_trunk", run_trunk)
    for train in ({}, {"trainable": ("head",)}):
        name = "-".join(train.get("trainable", ("default",)))
        config = run_config(tmp_path_factory, **train)
        finetune(config, tmp_path / name, verbose=False)
    for to_come, outputs in came:
        assert to_come.widths == outputs.widths
        assert (to_come.lengths == outputs.lengths).all()
        for name, leaf in outputs.data.items():
            expected = to_come.data[name]
            assert (leaf.shape, leaf.dtype) == (expected.shape, expected.dtype), name
    assert len(came) == 2
