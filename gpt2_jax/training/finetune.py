"""The main job: from a config to a trained classifier and its report."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax import distributed
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.step_folders import check_space, remove_leftovers
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.engine.devices import (
    Device,
    choose_devices,
    describe_devices,
    local_devices,
    on_host,
)
from gpt2_jax.engine.engine import Scorer
from gpt2_jax.engine.jit import Steps, jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.pmap import pmap_steps
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import Inputs, join, lay_out
from gpt2_jax.engine.trunk_cache import reuse_trunk
from gpt2_jax.engine.widths import epoch_rows
from gpt2_jax.errors import UserError, WeightsError, explain_out_of_memory
from gpt2_jax.evaluation.calibration import fit_temperature
from gpt2_jax.model.lora import merge_adapters
from gpt2_jax.model.tree import Params
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.prepare import Prepared, identify, prepare
from gpt2_jax.storage import bucket
from gpt2_jax.storage.disk import explain_disk_errors
from gpt2_jax.storage.download import forbidden_by
from gpt2_jax.training.loop import Trainer
from gpt2_jax.training.results import collect_results, write_report
from gpt2_jax.weights.trained import TrainedModel, save_model
from gpt2_jax.workdir.claim import claim, finished_results, stored_classes
from gpt2_jax.workdir.clock import Clock
from gpt2_jax.workdir.identity import run_id
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.signals import StopSignals
from gpt2_jax.workdir.writers import check_writers, open_writers


def memory_advice(config: FinetuneConfig) -> str:
    """Return what to lower in a run of `config`."""
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
        ways.append(
            f"lower train.reuse_max_bytes (now {train.reuse_max_bytes:,}) in --config"
        )
    return ", ".join(ways)


log = logging.getLogger(__name__)


def finetune(
    config: FinetuneConfig | None = None,
    workdir: str | Path = "checkpoints/run",
    *,
    resume: bool | str = False,
    allow_data_change: bool = False,
    offline: bool = False,
    trunk_cache: str | Path | None = None,
) -> dict[str, Any]:
    """Fine-tune a pretrained GPT-2 into a classifier; return what results.json holds.

    Writes the files of a run into `workdir` (README, "The files of a run"), a folder or
    a URL of a bucket. With
    `resume` it goes on from the newest checkpoint there, or starts if there is none;
    a damaged one is an error, or with `resume="auto"` passed over in words. With
    `allow_data_change` the data need not be those that it began with; with `offline` it
    leaves the network alone. Runs that name the same folder as `trunk_cache` compute
    the outputs of a frozen trunk once for all of them.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        training.watch.Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    config, url = config or FinetuneConfig(), str(workdir)
    how: dict[str, Any] = {
        "resume": resume,
        "allow_data_change": allow_data_change,
        "offline": offline,
        "trunk_cache": None if trunk_cache is None else Path(trunk_cache),
    }
    if not bucket.is_url(url):
        return _finetune(config, Path(workdir), None, **how)
    if forbidden := forbidden_by(offline):
        raise UserError(f"--workdir {url}: {forbidden} forbids it")
    with bucket.mirrored(url, writes=distributed.is_first()) as mirror:
        return _finetune(config, mirror.folder, mirror, **how)


def _finetune(
    config: FinetuneConfig,
    workdir: Path,
    mirror: bucket.Mirror | None,
    *,
    resume: bool | str,
    allow_data_change: bool,
    offline: bool,
    trunk_cache: Path | None,
) -> dict[str, Any]:
    clock = Clock()
    if resume not in (False, True, "auto"):
        raise UserError(f"resume={resume!r} is not one of False, True, auto")
    check_writers(config.train)
    with (
        clock.compiling(),
        StopSignals(workdir, mirror and mirror.url) as stop,
        contextlib.ExitStack() as held,
        explain_disk_errors(workdir),
        explain_out_of_memory(memory_advice(config)),
        contextlib.ExitStack() as stack,
    ):
        distributed.on_first_process(lambda: held.enter_context(workdir_lock(workdir)))
        with clock.phase("load"):
            stored = stored_classes(workdir) if resume else None
            prepared = prepare(config, offline=offline, classes=stored)
            for line in describe(prepared):
                log.info(line)
            devices = choose_devices(config.train.devices)
            for line in describe_devices(devices, config.train):
                log.info(line)
            run = identify(prepared)
            stop.poll()
            distributed.on_first_process(
                lambda: claim(
                    workdir,
                    config,
                    run,
                    resume=bool(resume),
                    allow_data_change=allow_data_change,
                )
            )
            num_steps = config.train.epochs * _steps_per_epoch(prepared)
            if results := finished_results(workdir, num_steps):
                log.info("already complete: %d of %d steps", num_steps, num_steps)
                return results
            distributed.on_first_process(lambda: remove_leftovers(workdir))
            params, split, inputs = _reuse_trunk(
                prepared, workdir, devices, clock, stop.poll, trunk_cache
            )
            steps = _compile(prepared, params, split, devices)
        labels = {name: prepared.labels[name] for name in params}
        tx = create_optimizer(config.train, labels, num_steps)
        with on_host():  # what is cut over the devices may fit none of them
            state = create_train_state(prepared.model, params, tx)
        state = jax.tree.map(np.asarray, state)
        checkpoints = stack.enter_context(
            Checkpoints(
                workdir,
                labels,
                run=run_id(config, run),
                keep=config.train.keep_checkpoints,
                committed=mirror.push if mirror else lambda: None,
            )
        )
        distributed.on_first_process(lambda: _check_space(checkpoints, state, prepared))
        restored, behind = None, False
        if resume:
            restored = checkpoints.restore(
                state, best=False, fall_back=resume == "auto"
            )
        scorer = Scorer.create(
            steps, inputs, resident=_fits_device(inputs, config), poll=stop.poll
        )

        with clock.phase("evaluate"):
            before = scorer.scores(steps.place(params), inputs.parts["test"])[1]
        log.info("test accuracy before training: %.2f%%", 100 * before)
        if restored:
            state, meta = restored
            behind = meta["behind"]
            _log_resumed(meta["step"], num_steps, trunk=bool(split))
        elif resume:
            log.info("no checkpoint to resume from: starting at step 0")
        with clock.phase("train"), open_writers(config, workdir) as writers:
            trainer = Trainer(prepared, scorer, checkpoints, workdir, stop, writers)
            state = trainer.run(state, behind=behind)
            taken = int(state.step)
        checkpoints.finish()
        distributed.process_min(0)  # the first process has saved
        if mirror and not distributed.is_first():
            mirror.pull()
        if config.train.keep == "best":
            best = checkpoints.restore(state, best=True, fall_back=resume == "auto")
            if best is None:
                raise WeightsError(f"{checkpoints.folder}: the best step is gone")
            state, meta = best
            log.info("kept the best step on validation: %d", meta["step"])

        with clock.phase("evaluate"):
            placed = steps.place(state.params)
            logits = {
                part: scorer.logits(placed, rows) for part, rows in inputs.parts.items()
            }
            validation = prepared.examples["validation"]
            temperature = fit_temperature(logits["validation"], validation.labels)
            trained = _trained_model(prepared, state.params, temperature)
            if distributed.is_first():
                save_model(workdir / "model", trained)
            results = collect_results(
                prepared,
                logits,
                temperature=temperature,
                before=before,
                steps=taken,
                seconds=clock.seconds,
                devices=steps.num_devices,
            )
        if distributed.is_first():
            write_report(prepared, logits, results, workdir, clock)
    return results


def _steps_per_epoch(prepared: Prepared) -> int:
    return len(prepared.examples["train"]) // prepared.config.train.batch_size


def _reuse_trunk(
    prepared: Prepared,
    workdir: Path,
    devices: list[Device],
    clock: Clock,
    poll: Callable[[], None],
    cache: Path | None,
) -> tuple[Params, int, Inputs]:
    """Return the params still needed, the split they start at, and their inputs.

    When the frozen trunk can be run once per text it is, and its params stay behind.
    """
    model, split = prepared.model, prepared.frozen_split
    examples, parts = join(prepared.examples)
    padded = prepared.config.pool == "last"
    tokens = lay_out(examples, prepared.class_weights, padded=padded)
    tokens = dataclasses.replace(tokens, parts=parts)
    train = prepared.config.train
    batches = epoch_rows(len(parts["train"]), train.batch_size, train.seed, epoch=0)
    tokens = tokens.narrow(parts["train"][batches])
    with clock.phase("trunk"):
        features = reuse_trunk(
            model,
            prepared.params,
            tokens,
            train,
            split,
            workdir,
            local_devices(devices),
            poll,
            cache,
        )
    if features is None:
        return prepared.params, 0, tokens
    done = {"wte", "wpe", *(f"h_{i}" for i in range(split))}
    if split > model.config.num_layers:
        done.add("ln_f")
    rest = {name: leaf for name, leaf in prepared.params.items() if name not in done}
    return rest, split, features


def _check_space(
    checkpoints: Checkpoints, state: TrainState, prepared: Prepared
) -> None:
    step, model = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (checkpoints.tree(state), prepared.params)
    )
    keep = prepared.config.train.keep_checkpoints
    check_space(checkpoints.folder, step, model, keep)


def _log_resumed(step: int, num_steps: int, *, trunk: bool) -> None:
    """Say where the run goes on.

    Raises:
        UserError: it is past the end already.
    """
    if step > num_steps:
        raise UserError(
            f"the checkpoint is of step {step}, but these --epochs end at step "
            f"{num_steps}; choose more"
        )
    log.info("resumed at step %d of %d", step, num_steps)
    if trunk:
        log.info("the frozen trunk's output is not kept; it was computed again")


def _fits_device(inputs: Inputs, config: FinetuneConfig) -> bool:
    return inputs.values.nbytes <= config.train.reuse_max_bytes


def _compile(
    prepared: Prepared, params: Params, split: int, devices: list[Device]
) -> Steps:
    """Wrap the steps for `devices`."""
    train = prepared.config.train
    labels = {name: prepared.labels[name] for name in params}
    how: dict[str, Any] = {"split": split, "accumulate": train.accumulate}
    if train.parallel == "pmap":
        return pmap_steps(prepared.model, labels, devices, **how)
    return jit_steps(prepared.model, labels, devices, shard=train.shard, **how)


def _trained_model(
    prepared: Prepared, params: Params, temperature: float
) -> TrainedModel:
    """Join what was trained with the frozen trunk; adapters go into their kernels."""
    whole = jax.tree.map(np.asarray, {**prepared.params, **params})
    config = prepared.model.config
    if config.lora_rank:
        whole = merge_adapters(whole, config)
    config = dataclasses.replace(config, dropout_rate=0.0, lora_rank=0)
    return TrainedModel(
        config,
        whole,
        prepared.dataset.classes,
        prepared.max_length,
        temperature,
        positive=prepared.positive,
    )
