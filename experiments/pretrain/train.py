"""Pre-train a GPT-2 on shards of tokens.

    python -m experiments.pretrain.train TOKENS --workdir RUN

The defaults are the recipe of the shipped base model; `--weights` goes on from a
pretrained one instead. RUN holds config.json, metrics.jsonl and checkpoints/;
`--resume` goes on from the newest one, to the bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
from flax.training.train_state import TrainState

from experiments.pretrain.config import PretrainConfig, parse
from experiments.pretrain.shard import MANIFEST, read_sequences
from experiments.pretrain.steps import init_state, read_weights
from gpt2_jax import GPT2
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.config import from_dict, to_dict
from gpt2_jax.engine.devices import choose_devices
from gpt2_jax.engine.jit import make_mesh
from gpt2_jax.engine.language_model import compile_programs
from gpt2_jax.engine.param_labels import label_params
from gpt2_jax.errors import UserError
from gpt2_jax.model.gpt2 import count_params
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.training.language_model import Course, train_language_model
from gpt2_jax.workdir.console import console
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.signals import StopSignals

MAY_CHANGE = ("log_every", "validate_every", "save_every")  # when a run is resumed


def train(
    config: PretrainConfig,
    tokens: Path,
    workdir: Path,
    *,
    resume: bool = False,
    devices: int | None = None,
) -> TrainState:
    """Train until `config.steps`; return the last state.

    Raises:
        UserError: the weights, the shards, the run or the devices are not what is
            needed.
    """
    config, params = read_weights(config)
    course = Course(
        train=read_sequences(tokens, "train", config.length),
        held_out=read_sequences(tokens, "validation", config.length),
        steps=config.steps,
        batch_size=config.batch_size,
        measured=config.validation_windows,
        measured_at_once=config.batch_size // config.accumulate,
        seed=config.seed,
        log_every=config.log_every,
        validate_every=config.validate_every,
        save_every=config.save_every,
    )
    mesh = make_mesh(choose_devices(devices))
    if config.batch_size % (mesh.size * config.accumulate):
        raise UserError(
            f"--batch-size {config.batch_size}: not divisible by {mesh.size} devices x "
            f"--accumulate {config.accumulate}"
        )
    programs = compile_programs(GPT2(config.model), mesh, config.accumulate)
    with console(verbose=True), workdir_lock(workdir):
        _claim(config, tokens, workdir, resume=resume)
        with open_checkpoints(
            workdir, state := init_state(config, params)
        ) as checkpoints:
            found = checkpoints.restore(state, best=False) if resume else None
            state = programs.place(found[0] if found else state)
            print(
                f"{count_params(state.params):,} parameters, {len(course.train):,} "
                f"sequences of {config.length} tokens, {mesh.size} x "
                f"{jax.devices()[0].device_kind}, from step {int(state.step)}"
            )
            stop = StopSignals(workdir)  # not listened to: a signal ends the process
            return train_language_model(state, course, programs, checkpoints, stop)


def open_checkpoints(workdir: Path, state: TrainState) -> Checkpoints:
    """Return the package's checkpoints, of all parameters."""
    return Checkpoints(workdir, label_params(state.params, "all", 1))


def _claim(
    config: PretrainConfig, tokens: Path, workdir: Path, *, resume: bool
) -> None:
    """Write config.json, or compare with the one that is there.

    Raises:
        UserError: a run is there and `resume` is off, or it was another one.
    """
    path = workdir / "config.json"
    manifest = hashlib.sha256((tokens / MANIFEST).read_bytes()).hexdigest()
    values = {"config": to_dict(config), "tokens": manifest}
    if path.exists():
        if not resume:
            raise UserError(f"{workdir}: a run is there; --resume, or another folder")
        saved = json.loads(path.read_text("utf-8"))
        before = {**saved["config"], "tokens": saved["tokens"]}
        now = {**values["config"], "tokens": manifest}
        for name in sorted({*before, *now} - {*MAY_CHANGE}):
            if before.get(name) != now.get(name):
                raise UserError(
                    f"{path}: the run began with {name} {before.get(name)}, not "
                    f"{now.get(name)}"
                )
    write_json(path, values)


@contextlib.contextmanager
def restored(workdir: Path) -> Iterator[tuple[PretrainConfig, TrainState]]:
    """Yield the config of a run and its newest state.

    Raises:
        UserError: there is none.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{workdir}: no run of experiments.pretrain.train")
    config = from_dict(PretrainConfig, json.loads(path.read_text("utf-8"))["config"])
    with open_checkpoints(workdir, state := init_state(config)) as checkpoints:
        found = checkpoints.restore(state, best=False)
        if found is None:
            raise UserError(f"{workdir}: no checkpoint yet")
        yield config, found[0]


def main(argv: list[str] | None = None) -> None:
    arguments = parse(__doc__, argv)
    try:
        train(
            arguments.config,
            arguments.tokens,
            arguments.workdir,
            resume=arguments.resume,
            devices=arguments.devices,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
