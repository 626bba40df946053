"""The main job: from a config to a trained classifier and its report."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.data.batches import epoch_rows
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.calibration import fit_temperature
from gpt2_jax.training import artifacts
from gpt2_jax.training.checkpoint import Checkpoints
from gpt2_jax.training.describe import describe
from gpt2_jax.training.epochs import Trainer
from gpt2_jax.training.inputs import Inputs, join, lay_out
from gpt2_jax.training.lora import merge_adapters
from gpt2_jax.training.optimizer import create_optimizer
from gpt2_jax.training.parallel import (
    Device,
    Steps,
    choose_devices,
    jit_steps,
    pmap_steps,
)
from gpt2_jax.training.prepare import Prepared, prepare
from gpt2_jax.training.results import collect_results, write_report
from gpt2_jax.training.reuse import reuse_trunk
from gpt2_jax.training.scoring import Scorer
from gpt2_jax.training.steps import create_train_state
from gpt2_jax.training.watch import Clock, StopSignals
from gpt2_jax.training.workdir import claim
from gpt2_jax.training.writers import check_writers, open_writers
from gpt2_jax.tree import Params

log = logging.getLogger(__name__)


def finetune(
    config: FinetuneConfig | None = None,
    workdir: str | Path = "checkpoints/run",
    *,
    resume: bool = False,
    offline: bool = False,
) -> dict[str, Any]:
    """Fine-tune a pretrained GPT-2 into a classifier; return what results.json holds.

    Writes the files of a run into `workdir` (README, "The files of a run"). With
    `resume` it goes on from the last checkpoint there, or starts if there is none;
    with `offline` it leaves the network alone.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
        training.watch.Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    clock = Clock()
    config, workdir = config or FinetuneConfig(), Path(workdir)
    check_writers(config.train)
    with clock.compiling(), StopSignals() as stop:
        with clock.phase("load"):
            prepared = prepare(config, offline=offline)
            for line in describe(prepared):
                log.info(line)
            devices = _devices(config.train)
            claim(workdir, config, resume=resume)
            params, split, inputs = _reuse_trunk(prepared, workdir, devices, clock)
            steps = _compile(prepared, params, split, devices)
        labels = {name: prepared.labels[name] for name in params}
        num_steps = config.train.epochs * _steps_per_epoch(prepared)
        tx = create_optimizer(config.train, labels, num_steps)
        state = create_train_state(prepared.model, params, tx)
        checkpoints = Checkpoints(workdir, labels)
        scorer = Scorer.create(steps, inputs, resident=_fits_device(inputs, config))

        with clock.phase("evaluate"):
            before = scorer.scores(steps.place(params), inputs.parts["test"])[1]
        log.info("test accuracy before training: %.2f%%", 100 * before)
        if resume and (restored := checkpoints.restore(state, best=False)):
            state, meta = restored
            log.info("resumed at step %d of %d", meta["step"], num_steps)
        with clock.phase("train"), open_writers(config, workdir) as writers:
            trainer = Trainer(prepared, scorer, checkpoints, workdir, stop, writers)
            state = trainer.run(state)
            taken = int(state.step)
        if config.train.keep == "best":
            best = checkpoints.restore(state, best=True)
            assert best is not None  # every epoch ends with a checkpoint
            state, meta = best
            log.info("kept the best step on validation: %d", meta["step"])
        checkpoints.close()

        with clock.phase("evaluate"):
            placed = steps.place(state.params)
            logits = {
                part: scorer.logits(placed, rows) for part, rows in inputs.parts.items()
            }
            validation = prepared.examples["validation"]
            temperature = fit_temperature(logits["validation"], validation.labels)
            artifacts.save_model(
                workdir / "model", _trained_model(prepared, state.params, temperature)
            )
            results = collect_results(
                prepared,
                logits,
                temperature=temperature,
                before=before,
                steps=taken,
                seconds=clock.seconds,
                devices=steps.num_devices,
            )
        write_report(prepared, logits, results, workdir, clock)
    return results


def _steps_per_epoch(prepared: Prepared) -> int:
    return len(prepared.examples["train"]) // prepared.config.train.batch_size


def _reuse_trunk(
    prepared: Prepared, workdir: Path, devices: list[Device], clock: Clock
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
            devices,
        )
    if features is None:
        return prepared.params, 0, tokens
    done = {"wte", "wpe", *(f"h_{i}" for i in range(split))}
    if split > model.config.num_layers:
        done.add("ln_f")
    rest = {name: leaf for name, leaf in prepared.params.items() if name not in done}
    return rest, split, features


def _fits_device(inputs: Inputs, config: FinetuneConfig) -> bool:
    return inputs.values.nbytes <= config.train.reuse_max_bytes


def _devices(config: TrainConfig) -> list[Device]:
    """Return the devices that were asked for.

    Raises:
        DeviceError: they are not there.
        UserError: they do not divide the batch.
    """
    devices = choose_devices(config.parallel, config.devices)
    if config.batch_size % len(devices):
        raise UserError(
            f"--batch-size {config.batch_size} is not divisible by {len(devices)} "
            "devices; choose a multiple, or fewer --devices"
        )
    return devices


def _compile(
    prepared: Prepared, params: Params, split: int, devices: list[Device]
) -> Steps:
    """Wrap the steps for `devices`."""
    train = prepared.config.train
    labels = {name: prepared.labels[name] for name in params}
    if train.parallel == "pmap":
        return pmap_steps(prepared.model, labels, devices, split=split)
    return jit_steps(prepared.model, labels, split=split)


def _trained_model(
    prepared: Prepared, params: Params, temperature: float
) -> artifacts.TrainedModel:
    """Join what was trained with the frozen trunk; adapters go into their kernels."""
    whole = jax.tree.map(np.array, {**prepared.params, **params})
    config = prepared.model.config
    if config.lora_rank:
        whole = merge_adapters(whole, config)
    config = dataclasses.replace(config, dropout_rate=0.0, lora_rank=0)
    return artifacts.TrainedModel(
        config, whole, prepared.dataset.classes, prepared.max_length, temperature
    )
