"""A profiler's trace of some training steps, for xprof and TensorBoard."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import jax

from gpt2_jax.errors import DeviceError, UserError

log = logging.getLogger(__name__)

FOLDER = "profile"  # in that of the run

# A name for what the host does in the block, in a trace; it costs nothing without one.
named = jax.profiler.TraceAnnotation


class Profile:
    """Traces `steps` steps after the first call of a run, in which most is compiled.

    Each of them is a call of its own, so that the trace tells them apart.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._left = folder / FOLDER, steps
        self._tracing = False

    def limit(self, limit: int) -> int:
        """Return how many steps the next call may take."""
        return 1 if self._tracing else limit

    def step(self, number: int) -> contextlib.AbstractContextManager[None]:
        """Name the call whose last step has this number."""
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def after(self, count: int) -> None:
        """Begin, or end, between two calls; the last one took `count` steps.

        Raises:
            DeviceError: this process is traced already, or the trace cannot be kept.
        """
        if self._tracing:
            self._left -= count
            if self._left <= 0:
                self._stop()
        elif self._left > 0:
            self._start()

    def _start(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # each call of Python would hide the steps
        try:
            jax.profiler.start_trace(self._folder, profiler_options=options)
        except RuntimeError as error:
            raise _refused(error) from error
        self._tracing = True

    def _stop(self) -> None:
        self._tracing = False
        try:
            jax.profiler.stop_trace()
        except RuntimeError as error:
            raise _refused(error) from error
        log.info("the trace is in %s: xprof %s", self._folder, self._folder)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """End the trace with the block, however that ends."""
        try:
            yield
        finally:
            if self._tracing:
                log.warning("--profile: the run ended %d steps sooner", self._left)
                self._stop()
            self._left = 0


def _refused(error: RuntimeError) -> DeviceError:
    reason = (str(error).splitlines() or [""])[0][:200]
    return DeviceError(
        f"--profile: jax cannot trace this process ({reason}); end the other trace, or "
        "leave --profile out"
    )


def check_profile(steps: int, first: int, last: int) -> None:
    """Refuse to trace steps of a run that has none left after its next one.

    Args:
        steps: to trace; 0: none.
        first: taken already, of `last`.

    Raises:
        UserError: it has none.
    """
    if steps and last - first < 2:
        raise UserError(
            f"--profile {steps}: the run has taken {first} of {last} steps; of those "
            "left the first is compiled, and none is behind it: choose another "
            "--workdir, or more --epochs"
        )
