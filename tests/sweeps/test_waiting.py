"""What a run that trains with others waits for them is no time of its steps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gpt2_jax.sweeps.together import run_together
from gpt2_jax.workdir.memo import Memo


class _Together:
    """Steps of several runs that take no time."""

    def train(self, states, rows, keys, width):
        return states, np.zeros((len(states), rows.shape[1]))


def test_the_wait_for_others_is_counted_apart():
    waited = {}

    def job(name: str, before: float) -> Any:
        def run(memo: Memo) -> None:
            steps: Any = memo.join(object(), lambda size: _Together())
            time.sleep(before)  # it evaluates, or saves
            steps.train(None, np.zeros((1, 2), np.int32), None, 8)
            waited[name] = memo.waited

        return run

    stop: Any = None  # nobody asks to stop
    run_together([job("quick", 0), job("slow", 0.5)], Memo(), stop)
    assert waited["quick"] > 0.4 and waited["slow"] < 0.1
    assert Memo().waited == 0
