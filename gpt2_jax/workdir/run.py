"""A run and its folder, for as long as it is open."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.step_folders import remove_leftovers
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.errors import UserError, explain_out_of_memory
from gpt2_jax.model.tree import Params
from gpt2_jax.storage import bucket
from gpt2_jax.storage.disk import explain_disk_errors
from gpt2_jax.storage.download import forbidden_by
from gpt2_jax.workdir.claim import claim, finished_results
from gpt2_jax.workdir.clock import Clock
from gpt2_jax.workdir.console import console
from gpt2_jax.workdir.identity import run_id
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.paths import absolute, chosen_workdir
from gpt2_jax.workdir.signals import StopSignals


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is done, beside its config; nothing here changes its numbers.

    Raises:
        UserError: `resume` is none of its three values, or `profile` is below 0.
    """

    verbose: bool = True
    resume: bool | str = False  # "auto": past damaged checkpoints
    allow_data_change: bool = False
    offline: bool = False
    trunk_cache: Path | None = None
    memo: Memo = dataclasses.field(default_factory=Memo)  # shared with other runs
    figures: bool = True
    profile: int = 0  # steps to trace

    def __post_init__(self) -> None:
        if self.profile < 0:
            raise UserError(
                f"--profile {self.profile}: expected a number of steps, 0 for none"
            )
        if self.resume not in (False, True, "auto"):
            raise UserError(f"resume={self.resume!r} is not one of False, True, auto")


@dataclasses.dataclass
class Run:
    """An open run: its folder is this process's alone."""

    config: FinetuneConfig
    options: RunOptions
    folder: Path
    mirror: bucket.Mirror | None  # of a folder that stands for a bucket's URL
    clock: Clock
    stop: StopSignals
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> str:
        """The path of the folder, or its URL."""
        return self.mirror.url if self.mirror else str(self.folder)

    @property
    def name(self) -> str:
        """The last part of the folder's name, or of the URL's."""
        return self.folder.name

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Count the seconds of the block to a phase."""
        return self.clock.phase(name)

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the folder that of a run of this identity; see `claim.claim`.

        Raises:
            UserError: it holds another run.
            Interrupted: a signal came before.
        """
        self.stop.poll()
        self.identity = identity
        distributed.on_first_process(
            lambda: claim(
                self.folder,
                absolute(self.config),
                identity,
                resume=bool(self.options.resume),
                allow_data_change=self.options.allow_data_change,
                began=self.clock.began,
            )
        )

    def finished(self, num_steps: int) -> dict[str, Any] | None:
        """Return what results.json holds if the run has taken all its steps.

        Else what a killed process of the run was writing is removed.
        """
        if found := finished_results(self.folder, num_steps):
            return found
        distributed.on_first_process(lambda: remove_leftovers(self.folder))
        return None

    def checkpoints(self, param_labels: Params) -> Checkpoints:
        """Open the checkpoints of the run."""
        return Checkpoints(
            self.folder,
            param_labels,
            run=run_id(self.config, self.identity),
            keep=self.config.train.keep_checkpoints,
            committed=self.mirror.push if self.mirror else lambda: None,
        )

    def wait_for_saves(self) -> None:
        """Wait until every process can read what the first one has saved."""
        distributed.process_min(0)
        if self.mirror and not distributed.is_first():
            self.mirror.pull()


@contextlib.contextmanager
def open_run(
    config: FinetuneConfig, workdir: str | Path | None, options: RunOptions
) -> Iterator[Run]:
    """Open the run of `config` in `workdir`, a folder or a bucket's URL.

    The folder is locked, signals end the run at the next gap, and what a disk, the
    memory or a bucket refuses is said in one line.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        Interrupted: SIGINT or SIGTERM came.
    """
    clock = Clock()
    with (
        console(verbose=options.verbose),
        local_folder(workdir, options) as (folder, mirror),
        clock.compiling(),
        StopSignals(folder, mirror and mirror.url, above=options.memo.stop) as stop,
        contextlib.ExitStack() as held,
        explain_disk_errors(folder),
        explain_out_of_memory(memory_advice(config)),
    ):
        distributed.on_first_process(lambda: held.enter_context(workdir_lock(folder)))
        yield Run(config, options, folder, mirror, clock, stop)


@contextlib.contextmanager
def local_folder(
    workdir: str | Path | None, options: RunOptions
) -> Iterator[tuple[Path, bucket.Mirror | None]]:
    """Yield the folder that a run is written into, and the copy at its URL."""
    workdir = chosen_workdir(workdir)
    if isinstance(workdir, Path):
        yield workdir, None
        return
    if forbidden := forbidden_by(options.offline):
        raise UserError(f"--workdir {workdir}: {forbidden} forbids it")
    with bucket.mirrored(workdir, writes=distributed.is_first()) as mirror:
        yield mirror.folder, mirror


def memory_advice(config: FinetuneConfig) -> str:
    """Return what to lower in a run of `config` that needs too much memory."""
    train = config.train
    ways = [f"lower --batch-size (now {train.batch_size})"]
    ways.append(f"--max-length (now {config.max_length or 'that of the longest text'})")
    if config.dtype != "bfloat16":
        ways.append("give --dtype bfloat16")
    if train.trainable == ("all",) and train.shard == "none":
        ways.append("cut the parameters over several devices with --shard fsdp")
    elif train.trainable != ("head",):
        ways.append("train less of the model (--trainable)")
    if train.reuse_trunk:
        ways.append(f"lower --reuse-max-bytes (now {train.reuse_max_bytes:,})")
    return ", ".join(ways)
