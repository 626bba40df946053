"""The texts of requests, as they wait for the device."""

from __future__ import annotations

import contextlib
import dataclasses
from concurrent.futures import Future, InvalidStateError

import numpy as np


@dataclasses.dataclass
class Job:
    """The texts of one request, answered when every row is there."""

    rows: np.ndarray  # float64 [N, C]
    missing: int
    future: Future[np.ndarray]

    def answer(self, index: int, row: np.ndarray) -> None:
        self.rows[index] = row
        self.missing -= 1
        if not self.missing:
            with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
                self.future.set_result(self.rows)

    def fail(self, error: Exception) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclasses.dataclass(order=True)
class Text:
    turn: int
    number: int  # of all texts that came
    text: str = dataclasses.field(compare=False)
    job: Job = dataclasses.field(compare=False)
    index: int = dataclasses.field(compare=False)
    since: float = dataclasses.field(compare=False)
