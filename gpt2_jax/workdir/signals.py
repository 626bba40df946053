"""What a run watches beside its losses: the clock, the compiler and the signals."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
import jax.monitoring

from gpt2_jax import distributed

log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """The run was asked to stop, and nothing of it is lost."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopSignals:
    """Turns SIGINT and SIGTERM into a request that is honoured at the next gap.

    Gaps are between the calls of the train step, of the trunk and of evaluations; the
    compiler has none. A second signal has its usual effect.
    """

    def __init__(
        self,
        workdir: Path,
        url: str | None = None,
        *,
        command: str = "finetune",
        above: StopSignals | None = None,
    ) -> None:
        self.requested: int | None = None
        self._above = above  # what is asked of it is asked of this run too
        self._agreed: int | None = None  # of several processes
        self._workdir, self._url, self._command = workdir, url, command
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may set handlers; elsewhere the caller has its own way.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.requested = signum
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        log.info("stopping at the next gap; a second signal stops at once")

    def meet(self, limit: int) -> int:
        """Agree with the other processes on a signal and on the smallest `limit`."""
        self._agreed, limit = distributed.agree(self._asked, limit)
        return limit

    @property
    def _signum(self) -> int | None:
        # One process that left alone would let the others wait for it for ever.
        return self._asked if jax.process_count() == 1 else self._agreed

    @property
    def _asked(self) -> int | None:
        above = self._above.requested if self._above else None
        return self.requested or above

    def poll(self) -> None:
        """Leave what can be done again, if a signal came.

        Raises:
            Interrupted: it did; of several processes: to any, before they last met.
        """
        if self._signum is not None:
            self._leave(self._signum, "no step was under way")

    def leave(self, step: int) -> NoReturn:
        """Raise Interrupted, after the state of `step` was saved."""
        assert self._signum is not None
        self._leave(self._signum, f"stopped at step {step}")

    def _leave(self, signum: int, what: str) -> NoReturn:
        config = self._workdir / "config.json"
        how = "nothing was begun"
        if config.exists():
            how = (
                f"gpt2-jax {self._command} --config {config} --workdir {self._workdir}"
            )
            how = f"go on with: {how} --resume"
            if self._url is not None:
                how = f"{self._url}: go on with the same command and --resume"
        raise Interrupted(signum, f"{what}; {how}")
