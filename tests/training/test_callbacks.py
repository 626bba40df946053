"""Those who watch a run see all of it, and change nothing."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_helpers import finished_run, losses, run_config

from gpt2_jax import Callback
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.optimizer import create_schedule
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.errors import UserError, WeightsError, explain_out_of_memory
from gpt2_jax.storage.disk import explain_disk_errors
from gpt2_jax.training.callbacks import Observers, RunInfo
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.results import Results


class _Watcher(Callback):
    """Writes everything down, and spoils what it is given."""

    def __init__(self, fails_in: str = "", error: Exception | None = None) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self._fails_in, self._error = fails_in, error

    def _seen(self, hook: str, number: Any, metrics: Any) -> None:
        self.calls.append((hook, number, dict(metrics) if metrics else None))
        if isinstance(metrics, dict):
            metrics.clear()
        if hook == self._fails_in and self._error is not None:
            raise self._error

    def on_start(self, run: RunInfo) -> None:
        self._seen("on_start", run, None)

    def on_step(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        with pytest.raises(ValueError, match="read-only"):
            metrics["loss"][0] = 0.0
        self._seen("on_step", step, metrics)

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._seen("on_evaluation", step, metrics)

    def on_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        self._seen("on_epoch", epoch, metrics)

    def on_end(self, results: Results | None) -> None:
        self._seen("on_end", results, None)

    def of(self, hook: str) -> list[tuple[Any, Any]]:
        return [call[1:] for call in self.calls if call[0] == hook]


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Path, _Watcher, Results, list[int]]:
    """The run of `finished_run`, watched; and the steps of each of its calls."""
    run, watcher, calls = tmp_path_factory.mktemp("watched") / "run", _Watcher(), []
    train = ResidentSteps.train

    def counted(self, state, rows, key, width):
        calls.append(len(rows))
        return train(self, state, rows, key, width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResidentSteps, "train", counted)
        results = finetune(run_config(tmp_path_factory), run, callbacks=(watcher,))
    return run, watcher, results, calls


@pytest.mark.slow
def test_every_call_is_told_once_with_all_its_steps(watched):
    run, watcher, _, calls = watched
    told = watcher.of("on_step")
    assert [len(metrics["loss"]) for _, metrics in told] == calls
    assert [step for step, _ in told] == np.cumsum(calls).tolist()
    assert len(calls) < 10  # some take several steps
    values = np.concatenate([metrics["loss"] for _, metrics in told])
    assert list(enumerate(values.tolist(), start=1)) == losses(run)
    for step, metrics in told:
        assert set(metrics) == {"loss", "learning_rate", "texts_per_second"}
        assert (metrics["texts_per_second"] > 0).all()
        assert {len(x) for x in metrics.values()} == {len(metrics["loss"])}, step


def test_the_learning_rate_is_that_of_each_step():
    watcher, train = _Watcher(), TrainConfig(schedule="linear", warmup_steps=2)
    schedule = create_schedule(train, 10)
    observers = Observers((), [watcher], batch_size=8, schedule=schedule)
    for step, size in ((1, 1), (4, 3), (10, 6)):
        observers.step(step, np.ones(size, np.float32), seconds=2.0)
    told = [metrics for _, metrics in watcher.of("on_step")]
    rates = np.concatenate([metrics["learning_rate"] for metrics in told])
    np.testing.assert_allclose(rates, schedule(np.arange(10)))
    assert [metrics["texts_per_second"][0] for metrics in told] == [4.0, 12.0, 24.0]


@pytest.mark.slow
def test_a_watched_run_is_the_run_that_nobody_watches(watched, tmp_path_factory):
    run, alone = watched[0], finished_run(tmp_path_factory)
    assert losses(run) == losses(alone)
    for name in ("model/params.safetensors", "predictions.csv"):
        assert (run / name).read_bytes() == (alone / name).read_bytes(), name


@pytest.mark.slow
def test_what_comes_when(watched):
    _, watcher, results, _ = watched
    hooks = [call[0] for call in watcher.calls]
    assert hooks[0] == "on_start" and hooks[-1] == "on_end"
    (info, _) = watcher.of("on_start")[0]
    assert (info.first_step, info.num_steps, info.steps_per_epoch) == (0, 10, 5)
    assert [step for step, _ in watcher.of("on_evaluation")] == [1, 4, 7, 10]
    assert [epoch for epoch, _ in watcher.of("on_epoch")] == [1, 2]
    assert watcher.of("on_end") == [(results, None)]
    assert watcher.of("on_end")[0][0] is results


@pytest.mark.slow
def test_a_metric_of_ones_own_has_logits_and_labels(watched):
    results = watched[2]
    for _, metrics in watched[1].of("on_epoch"):
        hits = metrics["validation_logits"].argmax(-1) == metrics["validation_labels"]
        assert len(hits) == results.data["used"]["validation"]
        assert hits.mean() == pytest.approx(metrics["validation_accuracy"])


_ERRORS = [OSError(errno.ENOSPC, "mine"), MemoryError("mine")]


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["on_start", "on_step", "on_epoch", "on_end"])
@pytest.mark.parametrize("error", _ERRORS, ids=["disk", "memory"])
def test_what_a_callback_raises_is_the_callers(hook, error, tmp_path, watched):
    """As the run does, it passes what explains our own errors."""
    watcher = _Watcher(hook, error)
    observers = Observers((), [watcher])
    with (
        pytest.raises(type(error)) as raised,
        explain_disk_errors(tmp_path),
        explain_out_of_memory("buy more"),
        observers.watching(watched[1].of("on_start")[0][0]),
    ):
        observers.step(3, np.ones(3, np.float32), 1.0)
        observers.epoch(1, {})
    assert raised.value is error
    assert error.__notes__[-1] == "raised by the callback _Watcher"
    assert watcher.of("on_end") == [(None, None)] * (hook != "on_start")


@pytest.mark.slow
def test_the_disk_of_a_tracker_is_explained(tmp_path, watched):
    observers = Observers([_Watcher("on_start", OSError(errno.ENOSPC, "full"))], ())
    with (
        pytest.raises(WeightsError, match="make room"),
        explain_disk_errors(tmp_path),
        observers.watching(watched[1].of("on_start")[0][0]),
    ):
        pytest.fail("it does not begin")


@pytest.mark.slow
def test_a_run_that_a_callback_ended_goes_on(tmp_path_factory, tmp_path):
    config, run = run_config(tmp_path_factory), tmp_path / "run"
    watcher, again = _Watcher("on_epoch", ZeroDivisionError()), _Watcher()
    with pytest.raises(ZeroDivisionError):
        finetune(config, run, callbacks=[watcher])
    finetune(config, run, resume=True, callbacks=[again])
    assert losses(run) == losses(finished_run(tmp_path_factory))
    first, second = watcher.of("on_start")[0][0], again.of("on_start")[0][0]
    assert second.first_step == 5  # which was saved before the callback came
    assert second.id == first.id


@pytest.mark.slow
def test_two_runs_have_two_ids(watched, tmp_path_factory, tmp_path):
    watcher = _Watcher("on_start", ValueError())
    with pytest.raises(ValueError):
        finetune(run_config(tmp_path_factory), tmp_path / "b", callbacks=[watcher])
    ids = {w.of("on_start")[0][0].id for w in (watcher, watched[1])}
    assert len(ids) == 2 and all(len(one) == 8 for one in ids)


@pytest.mark.parametrize("given", [print, _Watcher])
def test_what_is_no_callback_is_refused_before_anything_is_done(given, tmp_path):
    with pytest.raises(UserError, match="no instance of a subclass of"):
        finetune(workdir=tmp_path / "run", callbacks=[given])
    assert not (tmp_path / "run").exists()
