"""Thirty runs for the price of six: seeds and settings in one process."""

from __future__ import annotations

from pathlib import Path

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.sweeps.files import write_sweep
from gpt2_jax.sweeps.members import members_of
from gpt2_jax.sweeps.run import Swept, run_members


def sweep(
    config: FinetuneConfig | None = None,
    runs: SweepConfig | None = None,
    workdir: str | Path | None = None,
    *,
    offline: bool = False,
    trunk_cache: str | Path | None = None,
) -> Swept:
    """Fine-tune with every seed and setting of a sweep, and compare the settings.

    Texts are read once, each trunk is run once and each program compiled once; each
    run is that of `finetune` with its config, to the bit on a CPU. The same call goes
    on where another ended, and adds runs to those that are there.

    Args:
        config: what all runs have in common.
        runs: the seeds and settings, and what is kept of the runs.
        workdir: a folder, or the URL of a bucket; None: a new folder under
            `checkpoints/`. It gets a folder for each run, results.csv, table.md,
            sweep.json and report.html.
        offline: leave the network alone.
        trunk_cache: a folder in which another process finds the trunk's outputs.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        workdir.signals.Interrupted: a signal came, or the time is over; what was done
            is saved.
    """
    runs = runs or SweepConfig()
    members = members_of(config or FinetuneConfig(), runs)
    return run_members(
        members, workdir, runs, write_sweep, offline=offline, trunk_cache=trunk_cache
    )
