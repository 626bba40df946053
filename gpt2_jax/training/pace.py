"""How fast the steps are, and how much of the time since the first start they took."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpt2_jax.engine.devices import choose_devices
from gpt2_jax.engine.engine import Engine
from gpt2_jax.model.pools import POOLS
from gpt2_jax.plan.abstract import abstract_run, step_flops
from gpt2_jax.plan.targets import known_peak
from gpt2_jax.plan.task import Task

RATES = ("step_seconds", "tokens_per_second", "peak_fraction")


class Pace:
    """Adds up the calls of a run, and tells what they did since it was last asked.

    Args:
        history: the lines of metrics.jsonl that the run has kept.
        started: when it began first, in seconds since 1970; None: not known.
    """

    def __init__(
        self,
        task: Task,
        engine: Engine,
        history: Iterable[Mapping[str, Any]],
        started: float | None,
    ) -> None:
        self._useful, self._started = useful_seconds(history), started
        self._tokens_of = tokens_of_pieces(task)
        config, train = task.model.config, task.config.train
        self._peak = known_peak(choose_devices(train.devices), config)
        self._seconds = self._steps = self._tokens = self._flops = 0.0

        @functools.cache
        def flops(width: int) -> float:
            run = abstract_run(config, train, reused=engine.trunk_reused)
            return step_flops(run, train, width)

        self._flops_of = flops

    def take(
        self, rows: np.ndarray, width: int, seconds: float, compiling: float
    ) -> float:
        """Count a call of a step on each of `rows` [S, B]; return the seconds of one.

        Args:
            seconds: that the call took, `compiling` of them the compiler.
        """
        used = max(seconds - compiling, 0.0)
        self._useful += used
        if not compiling:  # what jax says of the compiler's time is rough
            self._seconds += used
            self._steps += len(rows)
            self._tokens += int(self._tokens_of[rows].sum())
            if self._peak is not None:
                self._flops += len(rows) * self._flops_of(width)
        return used / len(rows)

    def tell(self) -> dict[str, float]:
        """Return the means since the last time: step, tokens, peak; and the goodput.

        What is not known is left out: on a CPU no peak is, and where the compiler was
        at work in each call nothing was measured.
        """
        told = {}
        if self._seconds:
            told["step_seconds"] = round(self._seconds / self._steps, 6)
            told["tokens_per_second"] = round(self._tokens / self._seconds, 1)
            if self._peak is not None:
                rate = self._flops / self._seconds
                told["peak_fraction"] = round(rate / self._peak, 6)
        self._seconds = self._steps = self._tokens = self._flops = 0.0
        return told | goodput(self._useful, self._started)


def tokens_of_pieces(task: Task) -> np.ndarray:
    """Return how many tokens [P] each piece of a text has, without padding."""
    texts = task.texts
    if not POOLS[task.config.pool].reads_padding:
        return texts.lengths
    owners = texts.pieces_of(np.arange(len(texts)))
    return np.minimum(task.num_tokens[owners], task.width)  # only short ones are padded


def useful_seconds(history: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds of all steps that a run has kept."""
    return sum(line.get("step_seconds", 0.0) for line in history if "loss" in line)


def goodput(useful: float, started: float | None) -> dict[str, float]:
    """Return the useful share of the seconds since the first start, where it is known.

    These go on where nothing runs, and where steps are taken that a kill takes back.
    """
    wall = 0.0 if started is None else time.time() - started
    return {"goodput": round(useful / wall, 6)} if wall > 0 else {}


def summarize(
    history: Iterable[Mapping[str, Any]], started: float | None
) -> dict[str, float] | None:
    """Return the medians of what `Pace` told into metrics.jsonl, and the goodput."""
    lines = [*history]
    told = [line for line in lines if "loss" not in line]
    found = {name: [line[name] for line in told if name in line] for name in RATES}
    medians = {
        name: statistics.median(values) for name, values in found.items() if values
    }
    return medians | goodput(useful_seconds(lines), started) or None
