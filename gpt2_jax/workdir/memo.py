"""What the runs of one process have in common, made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from gpt2_jax.workdir.signals import StopSignals

T = TypeVar("T")


class Memo:
    """Keeps the newest of each kind of thing that a run makes, for the next run.

    A thing is known by all that determines it, so a run finds here what it would have
    made, or makes it. Only the newest is kept: runs that are alike come one after
    another, and the outputs of a trunk may fill the memory.
    """

    # A run in a thread gets no signals: those of the runs together.
    stop: StopSignals | None = None
    waited = 0.0  # seconds that a run has waited for the others to come to their steps

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()  # things of each kind
        self._newest: dict[str, tuple[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of this key, which `make` makes where it is not there."""
        if kind in self._newest and self._newest[kind][0] == key:
            return self._newest[kind][1]
        self._newest.pop(kind, None)  # its memory is free for the next one
        made = make()
        self.made[kind] += 1
        self._newest[kind] = (key, made)
        return made

    def join(self, steps: T, together: Callable[[int], Any]) -> T:
        """Return the steps of a run: its own, unless it trains with others.

        Args:
            together: makes the steps of so many runs; see `engine.together`.
        """
        return steps
