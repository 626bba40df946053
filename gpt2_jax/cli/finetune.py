"""`gpt2-jax finetune`: flags -> config -> the main job."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import signal
import time
from pathlib import Path
from typing import Any

from gpt2_jax import config
from gpt2_jax.cli import weights as cli_weights
from gpt2_jax.errors import UserError
from gpt2_jax.storage import sealed
from gpt2_jax.storage.bucket import is_url

# Each flag of `finetune` and the field of FinetuneConfig that it sets.
_FIELDS = {
    "weights": "weights",
    "pool": "pool",
    "causal": "causal",
    "max_length": "max_length",
    "dtype": "dtype",
    "data": "data.source",
    "text_column": "data.text_column",
    "label_column": "data.label_column",
    "group_column": "data.group_column",
    "split_column": "data.split_column",
    "encoding": "data.encoding",
    "drop_duplicates": "data.drop_duplicates",
    "balance": "data.balance",
    "book_split": "data.book_split",
    "unseen": "data.unseen",
    "split": "data.split",
    "trainable": "train.trainable",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "accumulate": "train.accumulate",
    "lora_rank": "train.lora_rank",
    "lora_alpha": "train.lora_alpha",
    "learning_rate": "train.learning_rate",
    "weight_decay": "train.weight_decay",
    "schedule": "train.schedule",
    "warmup_steps": "train.warmup_steps",
    "seed": "train.seed",
    "parallel": "train.parallel",
    "devices": "train.devices",
    "shard": "train.shard",
    "eval_every": "train.eval_every",
    "save_every": "train.save_every",
    "keep_checkpoints": "train.keep_checkpoints",
    "keep": "train.keep",
    "metric": "train.metric",
    "patience": "train.patience",
    "tensorboard": "train.tensorboard",
    "wandb": "train.wandb",
}


def add_finetune(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `finetune`."""
    parser = commands.add_parser(
        "finetune", parents=[common], help="train a classifier"
    )
    add = parser.add_argument
    add("--preset", choices=list(config.FINETUNE_PRESETS), default="default")
    add("--config", type=Path, metavar="FILE", help="replay a run's config.json")
    add(
        "--weights",
        metavar="W",
        help="mini, 124M to 1558M, random:SIZE, or a path",
    )
    add(
        "--data",
        metavar="D",
        help="demo, sms-spam, imdb, a .csv, .tsv, .jsonl (also .gz, .xz) or .parquet "
        "file, a folder of train/validation/test files or of "
        "datasets.save_to_disk, or -",
    )
    add(
        "--workdir",
        type=lambda name: name if is_url(name) else Path(name),
        metavar="DIR",
        help="where the run is written: a folder, or a bucket's gs://...",
    )
    add("--text-column", metavar="NAME")
    add("--label-column", metavar="NAME")
    add("--group-column", metavar="NAME", help="its rows of one value stay together")
    add("--split-column", metavar="NAME", help="holds train, validation or test")
    add("--encoding", metavar="NAME", help="of the text file; default: utf-8")
    add("--drop-duplicates", action="store_const", const=True, help="use a text once")
    add("--unseen", action="store_const", const=True, help="test no text of train")
    add("--balance", choices=config.BALANCES)
    add("--book-split", choices=config.BOOK_SPLITS, help="of --preset book")
    add("--split", nargs=3, type=float, metavar=("TRAIN", "VALIDATION", "TEST"))
    add(
        "--trainable",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(config.TRAINABLE)}, or regexes over parameter paths",
    )
    add("--pool", choices=config.POOLS)
    add(
        "--no-causal-mask",
        dest="causal",
        action="store_const",
        const=False,
        help="every token sees all others",
    )
    add("--max-length", type=int, metavar="TOKENS")
    add("--epochs", type=int)
    add("--batch-size", type=int, help="over all devices")
    add(
        "--accumulate",
        type=int,
        metavar="N",
        help="compute the gradient of each batch in N pieces, for less memory",
    )
    add("--lora-rank", type=int, help="of --trainable lora")
    add("--lora-alpha", type=float, help="adapters count alpha/rank times")
    add("--learning-rate", type=float)
    add("--weight-decay", type=float)
    add("--schedule", choices=config.SCHEDULES)
    add("--warmup-steps", type=int)
    add("--seed", type=int)
    add("--dtype", choices=config.DTYPES)
    add("--parallel", choices=config.PARALLEL)
    add("--devices", type=int, metavar="N", help="of all processes; default: all")
    add("--shard", choices=config.SHARDS, help="cut params over the devices, or not")
    add("--device", choices=("cpu", "gpu", "tpu"), help="fail where there is none")
    add("--distributed", action="store_true", help="join the pod that the cloud names")
    add("--coordinator", metavar="HOST:PORT", help="of process 0; all meet there")
    add("--num-processes", type=int, metavar="N")
    add("--process-id", type=int, metavar="I", help="0 to N-1")
    add("--start-timeout", type=float, metavar="SECONDS", help="to wait for the others")
    add("--eval-every", type=int, metavar="STEPS")
    add("--save-every", type=int, metavar="STEPS")
    add("--keep", choices=("best", "last"), help="parameters that the run ends with")
    add(
        "--keep-checkpoints", type=int, metavar="N", help="newest ones, beside the best"
    )
    add("--metric", choices=config.METRICS, help="on validation, for best and patience")
    add(
        "--patience",
        type=int,
        metavar="EPOCHS",
        help="stop after so many without a better one",
    )
    for name in ("tensorboard", "wandb"):
        add(
            f"--{name}",
            action="store_const",
            const=True,
            help="write metrics there too",
        )
    add(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        choices=("auto",),
        help="go on from the newest checkpoint; auto: past damaged ones",
    )
    add(
        "--allow-data-change",
        action="store_true",
        help="resume though the data are not those that the run began with",
    )
    add(
        "--trunk-cache",
        type=Path,
        metavar="DIR",
        help="runs that share it compute the same frozen trunk once",
    )
    add("--dry-run", action="store_true", help="print what would run, and stop")
    cli_weights.add_offline(parser)


def finetune_config(arguments: argparse.Namespace) -> config.FinetuneConfig:
    """Return the preset, or the file given, with every flag given laid over it.

    Raises:
        UserError: a value that no run can have.
    """
    given = {
        field: getattr(arguments, flag)
        for flag, field in _FIELDS.items()
        if getattr(arguments, flag) is not None
    }
    try:
        base = config.FINETUNE_PRESETS[arguments.preset]
        if arguments.config is not None:
            base = _read_config(arguments.config)
        values = config.to_dict(base)
        for field, value in given.items():
            room, _, name = field.rpartition(".")
            (values[room] if room else values)[name] = value
        return config.from_dict(config.FinetuneConfig, values)
    except ValueError as error:
        raise UserError(str(error)) from None


def _read_config(path: Path) -> config.FinetuneConfig:
    try:
        values = sealed.parse(path.read_bytes())
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a JSON object ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return config.from_dict(config.FinetuneConfig, values, str(path))


def run_finetune(arguments: argparse.Namespace) -> int:
    resolved = finetune_config(arguments)
    if arguments.dry_run:
        return _dry_run(resolved, offline=arguments.offline)
    if not _is_distributed(arguments):
        return _run(arguments, resolved)
    if arguments.workdir is None:
        raise UserError("several processes need one --workdir that all of them reach")
    from gpt2_jax import distributed

    names = ("coordinator", "num_processes", "process_id")
    given = {name: getattr(arguments, name) for name in names}
    if arguments.start_timeout is not None:
        given["timeout"] = arguments.start_timeout
    with distributed.process_group(distributed.Processes(**given)):
        if not distributed.is_first():
            logging.getLogger("gpt2_jax").setLevel(logging.WARNING)
        return _run(arguments, resolved)


def _is_distributed(arguments: argparse.Namespace) -> bool:
    places = (arguments.coordinator, arguments.num_processes, arguments.process_id)
    return arguments.distributed or places != (None, None, None)


def _run(arguments: argparse.Namespace, resolved: config.FinetuneConfig) -> int:
    from gpt2_jax.distributed import is_first
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.engine.devices import require_platform
    from gpt2_jax.evaluation.summary import format_results
    from gpt2_jax.training.finetune import finetune

    set_up_compilation(arguments)
    if arguments.device is not None:
        require_platform(arguments.device)
    workdir = arguments.workdir
    if workdir is None:
        if arguments.resume:
            raise UserError("--resume needs the --workdir of the run to go on with")
        workdir = _new_workdir()
    # A second Ctrl-C, after the one that saves, ends the process where it stands.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        results = finetune(
            resolved,
            workdir,
            resume=arguments.resume,
            allow_data_change=arguments.allow_data_change,
            offline=arguments.offline,
            trunk_cache=arguments.trunk_cache,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    if is_first():
        print(*format_results(results), sep="\n")
        print(f"run: {workdir}")
        print(f"report: {workdir}/report.html")
    return 0


def _new_workdir() -> Path:
    """Return a folder that is not there, also if the clock was set back."""
    name = time.strftime("run-%Y%m%d-%H%M%S")
    numbers = itertools.chain([""], map("-{}".format, itertools.count(2)))
    paths = (Path("checkpoints") / f"{name}{number}" for number in numbers)
    return next(path for path in paths if not path.exists())


def _dry_run(resolved: config.FinetuneConfig, *, offline: bool) -> int:
    from gpt2_jax.plan.describe import describe, length_histogram
    from gpt2_jax.plan.estimate import describe_estimate, estimate, matmul_rate
    from gpt2_jax.plan.prepare import prepare

    prepared = prepare(resolved, offline=offline)
    print(json.dumps(config.to_dict(resolved), indent=2))
    print(*describe(prepared), *length_histogram(prepared), sep="\n")
    rate = matmul_rate(prepared.model.config)
    print(*describe_estimate(estimate(prepared), rate), sep="\n")
    return 0
