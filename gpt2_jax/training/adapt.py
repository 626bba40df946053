"""The job before the main one: a language model goes on, on texts without labels."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.step_folders import check_space, remove, remove_leftovers
from gpt2_jax.config import AdaptConfig
from gpt2_jax.engine.devices import check_deterministic, choose_devices
from gpt2_jax.engine.jit import make_mesh
from gpt2_jax.engine.language_model import Programs, compile_programs
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.errors import UserError, WeightsError, explain_out_of_memory
from gpt2_jax.export.language_model import write_checked
from gpt2_jax.model.tree import Params
from gpt2_jax.plan.corpus import Corpus, prepare_corpus
from gpt2_jax.storage.atomic import creating, write_json
from gpt2_jax.storage.bucket import is_url
from gpt2_jax.storage.disk import explain_disk_errors
from gpt2_jax.training.language_model import (
    Course,
    held_out_loss,
    train_language_model,
)
from gpt2_jax.weights.files import ADAPTED
from gpt2_jax.workdir.claim import claim, finished_results
from gpt2_jax.workdir.console import console
from gpt2_jax.workdir.identity import run_id
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.paths import absolute, chosen_workdir
from gpt2_jax.workdir.signals import StopSignals

log = logging.getLogger(__name__)

LOG_EVERY = 10  # steps


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What results.json of such a run holds, and where its weights are."""

    weights: Path
    steps: int  # taken
    best_step: int  # whose weights these are: the lowest loss on what was held out
    loss_before: float  # nats per token of what was held out
    loss_after: float


def adapt(
    config: AdaptConfig | None = None,
    workdir: str | Path | None = None,
    *,
    verbose: bool = True,
    resume: bool | str = False,
    offline: bool = False,
) -> Adapted:
    """Train a language model on texts alone; write weights to fine-tune from.

    `workdir` gets config.json, run.json, metrics.jsonl, checkpoints/, results.json and
    weights/, a Hugging Face folder that `--weights` takes, as it takes `workdir`.

    Args:
        workdir: None: a new folder under `checkpoints/`, named after the time.
        verbose: print what is done, where logging is not set up otherwise.
        resume: go on from the newest checkpoint, or start if there is none; a damaged
            one is an error, or with "auto" set aside in words.
        offline: leave the network alone.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        workdir.signals.Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    config = config or AdaptConfig()
    chosen = chosen_workdir(workdir)
    if is_url(chosen):
        raise UserError(f"--workdir {chosen}: adapt writes into folders, no bucket")
    folder = Path(chosen)
    with (
        console(verbose=verbose),
        StopSignals(folder, command="adapt") as stop,
        explain_disk_errors(folder),
        explain_out_of_memory(_memory_advice(config)),
        workdir_lock(folder),
    ):
        corpus = prepare_corpus(config, offline=offline)
        for line in corpus.told:
            log.info(line)
        devices = choose_devices(config.devices)
        if config.deterministic:
            check_deterministic(devices[0])
        if config.batch_size % (len(devices) * config.accumulate):
            raise UserError(
                f"--batch-size {config.batch_size}: not divisible by {len(devices)} "
                f"devices x --accumulate {config.accumulate}"
            )
        stop.poll()
        identity = corpus.identity()
        claim(folder, absolute(config), identity, resume=bool(resume))
        if (found := finished_results(folder, corpus.num_steps)) is not None:
            log.info("already complete: %d steps", corpus.num_steps)
            return _from_json(folder, found)
        remove_leftovers(folder)
        labels = label_params(corpus.params, "all", corpus.model.config.num_layers)
        tx = create_optimizer(config.train, labels, corpus.num_steps)
        state = create_train_state(corpus.model, corpus.params, tx)
        programs = compile_programs(corpus.model, make_mesh(devices), config.accumulate)
        run = run_id(config, identity)
        with Checkpoints(folder, labels, run=run) as checkpoints:
            _check_space(checkpoints, state, corpus.params)
            return _run(corpus, state, programs, checkpoints, stop, resume)


def _run(
    corpus: Corpus,
    state: TrainState,
    programs: Programs,
    checkpoints: Checkpoints,
    stop: StopSignals,
    resume: bool | str,
) -> Adapted:
    """Measure, train, measure, and write the weights."""
    course, fall_back = _course(corpus), resume == "auto"
    state = programs.place(state)
    before = held_out_loss(state.params, course, programs)
    log.info("loss on held-out texts before training: %.4f nats per token", before)
    found = checkpoints.restore(state, best=False, fall_back=fall_back)
    if found is not None:
        state = programs.place(found[0])
        log.info("resumed at step %d of %d", state.step, course.steps)
    state = train_language_model(state, course, programs, checkpoints, stop)
    steps = int(state.step)
    best = checkpoints.restore(state, best=True, fall_back=fall_back)
    if best is None:
        raise WeightsError(f"{checkpoints.folder}: the best step is gone")
    state = programs.place(best[0])
    after = held_out_loss(state.params, course, programs)
    if not after < before:
        log.warning(
            "the loss on held-out texts did not fall: fine-tune from %s itself, or "
            "lower --learning-rate",
            corpus.config.weights,
        )
    folder = checkpoints.folder.parent
    params = jax.tree.map(np.asarray, state.params)
    weights = _write_weights(folder / ADAPTED, corpus, params)
    adapted = Adapted(weights, steps, int(state.step), before, after)
    write_json(folder / "results.json", _to_json(adapted))
    return adapted


def _course(corpus: Corpus) -> Course:
    config = corpus.config
    often = config.save_every or corpus.steps_per_epoch
    return Course(
        train=corpus.train,
        held_out=corpus.held_out,
        steps=corpus.num_steps,
        batch_size=config.batch_size,
        measured=len(corpus.held_out),
        measured_at_once=config.batch_size // config.accumulate,
        seed=config.seed,
        log_every=LOG_EVERY,
        validate_every=often,
        save_every=often,
    )


def _check_space(checkpoints: Checkpoints, state: TrainState, params: Params) -> None:
    step, model = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (checkpoints.tree(state), params)
    )
    check_space(checkpoints.folder, step, model, keep=2)


def _write_weights(folder: Path, corpus: Corpus, params: Params) -> Path:
    if folder.exists():  # a kill came between it and results.json
        remove(folder)
    with creating(folder) as path:
        for line in write_checked(path, corpus.pretrained(params), "hf"):
            log.info(line)
    return folder


def _to_json(adapted: Adapted) -> dict[str, Any]:
    values = dataclasses.asdict(adapted)
    return {**values, "weights": adapted.weights.name}  # the folder may be moved


def _from_json(folder: Path, values: dict[str, Any]) -> Adapted:
    names = [field.name for field in dataclasses.fields(Adapted)]
    found = {name: values[name] for name in names}
    return Adapted(**{**found, "weights": folder / found["weights"]})


def _memory_advice(config: AdaptConfig) -> str:
    ways = [
        f"raise --accumulate (now {config.accumulate})",
        f"lower --batch-size (now {config.batch_size}) or --length",
    ]
    if config.dtype != "bfloat16":
        ways.append("give --dtype bfloat16")
    return ", ".join(ways)
