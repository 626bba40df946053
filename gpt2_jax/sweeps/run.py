"""Many runs in one process, one after the other, that share what they have in common.

The rules, so that nothing finished is lost whatever ends the process:
1. A member whose results.json is there is finished; its config must be the same.
2. Any other goes on from its newest checkpoint, or begins.
3. What is said of all is made of the files of the finished members alone.
4. A model goes once its member is finished and, to keep the best, a better one is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from gpt2_jax import distributed
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.errors import NonFiniteError, UserError
from gpt2_jax.sweeps.finished import Finished, best_of, read_finished, scored
from gpt2_jax.sweeps.limits import count_programs, stopped_in_words, time_limit
from gpt2_jax.sweeps.members import Member, in_order
from gpt2_jax.sweeps.together import alike, run_together
from gpt2_jax.training.finetune import finetune
from gpt2_jax.training.results import Results
from gpt2_jax.workdir.claim import SWEEP, refuse_others
from gpt2_jax.workdir.console import console
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.run import RunOptions, local_folder
from gpt2_jax.workdir.signals import Interrupted, StopSignals

log = logging.getLogger(__name__)

_HEAVY = ("checkpoints", "model")


# Writes into a folder what the finished members, in their order, have found; returns
# what is said of it.
Report = Callable[[Sequence[Finished], Path], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Swept:
    """What a sweep has come to."""

    finished: tuple[Finished, ...]  # in the order of the members
    diverged: tuple[str, ...]  # names of members whose loss became NaN or infinite
    told: tuple[str, ...]  # what the members say together; the files have more
    place: str  # the folder, or its URL
    made: Counter[
        str
    ]  # texts read, trunks run, and what else was made, in this process
    programs: int  # compiled in this process, or read from where they are kept


def run_members(
    members: Sequence[Member],
    workdir: str | Path | None,
    sweep: SweepConfig,
    report: Report,
    results: str = SWEEP,
    *,
    offline: bool = False,
    trunk_cache: str | Path | None = None,
) -> Swept:
    """Run the members that are not finished, each in a folder of its own in `workdir`.

    Args:
        results: the file that `report` writes, by which the folder is known.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        Interrupted: a signal came, or `max_hours` are over; the state is saved.
    """
    with (
        console(verbose=True),
        local_folder(workdir, RunOptions(offline=offline)) as (folder, mirror),
        _locked(folder),
        StopSignals(folder, command="sweep") as stop,
        time_limit(sweep.max_hours) as is_over,
        count_programs() as programs,
    ):
        if mirror is not None and jax.process_count() > 1:
            raise UserError(
                f"{mirror.url}: a sweep of several processes needs a folder that all "
                "of them reach"
            )
        refuse_others(folder, results)
        going = _Sweep(members, folder, sweep, offline, trunk_cache)
        going.remove_models()
        try:
            for some in going.groups():
                stop.poll()
                if len(some) == 1:
                    going.run(some[0], going.memo)
                else:
                    jobs = [functools.partial(going.run, each) for each in some]
                    run_together(jobs, going.memo, stop)
                if mirror is not None:
                    mirror.push()
        except Interrupted as stopped:
            if is_over() and going.finished:
                for line in _report(report, going.finished, folder):
                    log.info(line)
            done, of = len(going.finished), len(members)
            raise stopped_in_words(stopped, done, of, is_over()) from None
        if not going.finished:
            names = ", ".join(going.diverged)
            raise UserError(f"{folder}: no run has finished: {names}")
        told = _report(report, going.finished, folder)
        return Swept(
            tuple(going.finished),
            tuple(going.diverged),
            tuple(told),
            mirror.url if mirror else str(folder),
            going.memo.made,
            programs(),
        )


def _report(report: Report, finished: list[Finished], folder: Path) -> list[str]:
    told: list[str] = []
    distributed.on_first_process(lambda: told.extend(report(finished, folder)))
    return told


class _Sweep:
    """The members of a sweep, as far as they are finished."""

    def __init__(
        self,
        members: Sequence[Member],
        folder: Path,
        sweep: SweepConfig,
        offline: bool,
        trunk_cache: str | Path | None,
    ) -> None:
        self.memo, self.diverged = Memo(), []
        self._members, self._folder = members, folder
        self._sweep, self._offline, self._trunk_cache = sweep, offline, trunk_cache
        there = (read_finished(member, folder) for member in members)
        self._found = {done.member.name: done for done in there if done is not None}
        self._begun = len(self._found)

    @property
    def finished(self) -> list[Finished]:
        """The finished members, in the order of all."""
        names = (member.name for member in self._members)
        return [self._found[name] for name in names if name in self._found]

    def groups(self) -> Iterator[list[Member]]:
        """Yield the members, in an order that shares work, those at once together."""
        groups: dict[FinetuneConfig, list[Member]] = {}
        for member in in_order(self._members):
            if member.name not in self._found:
                groups.setdefault(alike(member.config), []).append(member)
        for config, some in groups.items():
            size = runs_at_once(self._sweep, config)
            for start in range(0, len(some), size):
                yield some[start : start + size]

    def run(self, member: Member, memo: Memo) -> None:
        """Finish a member; then remove the models that are not kept.

        Args:
            memo: what the run shares with others.

        Raises:
            Interrupted: a signal came.
        """
        folder = self._folder / member.name
        self._begun += 1
        log.info("run %d of %d: %s", self._begun, len(self._members), member.name)
        try:
            results = finetune(
                member.config,
                folder,
                verbose=not self.memo.made,  # the first tells of the data
                resume=True,
                offline=self._offline,
                trunk_cache=self._trunk_cache,
                memo=memo,
                figures=False,
            )
        except NonFiniteError as error:
            log.warning("%s: %s", member.name, error)
            self.diverged.append(member.name)
            return
        distributed.barrier(member.name)  # the first process has written its files
        self._found[member.name] = scored(member, results, folder)
        _say(member, results)
        self.remove_models()

    def remove_models(self) -> None:
        """Remove those of finished runs that are not kept."""
        distributed.on_first_process(self._remove_models)

    def _remove_models(self) -> None:
        if self._sweep.keep_models == "all" or not self._found:
            return
        best = best_of(self.finished)
        for each in self.finished:
            if self._sweep.keep_models == "none" or each is not best:
                for name in _HEAVY:
                    shutil.rmtree(each.folder / name, ignore_errors=True)


def runs_at_once(sweep: SweepConfig, config: FinetuneConfig) -> int:
    """Return how many runs train together: a step of one leaves much of a GPU idle."""
    if jax.process_count() > 1:  # each would wait for the others' turns
        return 1
    if sweep.together is not None:
        return sweep.together
    if jax.default_backend() == "cpu":
        return 1
    return 8 * (config.train.devices or jax.device_count())


def _say(member: Member, results: Results) -> None:
    shown = ", ".join(
        f"{part} {100 * results.accuracy[part]:.2f}%" for part in ("validation", "test")
    )
    log.info("%s: %s; %.1f s", member.name, shown, results.seconds["total"])


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        distributed.on_first_process(lambda: held.enter_context(workdir_lock(folder)))
        yield
