"""The command line: parse, build a config, call. No logic lives here."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_jax import __version__, config
from gpt2_jax.errors import UserError

if TYPE_CHECKING:
    from gpt2_jax.inference.classifier import Classifier

# Each flag of `finetune` and the field of FinetuneConfig that it sets.
_FIELDS = {
    "weights": "weights",
    "pool": "pool",
    "max_length": "max_length",
    "dtype": "dtype",
    "data": "data.source",
    "text_column": "data.text_column",
    "label_column": "data.label_column",
    "balance": "data.balance",
    "split": "data.split",
    "trainable": "train.trainable",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "learning_rate": "train.learning_rate",
    "weight_decay": "train.weight_decay",
    "schedule": "train.schedule",
    "warmup_steps": "train.warmup_steps",
    "seed": "train.seed",
    "parallel": "train.parallel",
    "devices": "train.devices",
    "eval_every": "train.eval_every",
    "save_every": "train.save_every",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="gpt2-jax", description="Turn a pretrained GPT-2 into a text classifier."
    )
    parser.add_argument("--version", action="version", version=__version__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    common.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile anew; keep no compiled programs in the user's cache folder",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_finetune(commands, common)

    evaluate = commands.add_parser(
        "evaluate", parents=[common], help="metrics of a run on labelled texts"
    )
    evaluate.add_argument("run", metavar="RUN", type=Path)
    evaluate.add_argument(
        "--data", help="dataset or file; all of it. Default: the run's own test part"
    )
    evaluate.add_argument("--text-column")
    evaluate.add_argument("--label-column")

    predict = commands.add_parser(
        "predict", parents=[common], help="label texts with a run"
    )
    predict.add_argument("run", metavar="RUN", type=Path)
    predict.add_argument("texts", metavar="TEXT", nargs="*")
    predict.add_argument(
        "--file",
        type=Path,
        help="texts: .csv, .tsv or .jsonl with a text column, else one on each line",
    )
    predict.add_argument("--text-column", default="text")
    predict.add_argument("--output", type=Path, help="write JSON lines to this file")
    return parser


def _add_finetune(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "finetune", parents=[common], help="train a classifier"
    )
    add = parser.add_argument
    add("--preset", choices=list(config.FINETUNE_PRESETS), default="default")
    add("--config", type=Path, metavar="FILE", help="replay a run's config.json")
    add("--weights", metavar="W", help="mini, or a path to PyTorch-format weights")
    add("--data", metavar="D", help="demo, sms-spam, or a .csv/.tsv/.jsonl file")
    add("--workdir", type=Path, metavar="DIR", help="where the run is written")
    add("--text-column", metavar="NAME")
    add("--label-column", metavar="NAME")
    add("--balance", choices=config.BALANCES)
    add("--split", nargs=3, type=float, metavar=("TRAIN", "VALIDATION", "TEST"))
    add(
        "--trainable",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(config.TRAINABLE)}, or regexes over parameter paths",
    )
    add("--pool", choices=config.POOLS)
    add("--max-length", type=int, metavar="TOKENS")
    add("--epochs", type=int)
    add("--batch-size", type=int, help="over all devices")
    add("--learning-rate", type=float)
    add("--weight-decay", type=float)
    add("--schedule", choices=config.SCHEDULES)
    add("--warmup-steps", type=int)
    add("--seed", type=int)
    add("--dtype", choices=config.DTYPES)
    add("--parallel", choices=config.PARALLEL)
    add("--devices", type=int, metavar="N")
    add("--eval-every", type=int, metavar="STEPS")
    add("--save-every", type=int, metavar="STEPS")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--dry-run", action="store_true", help="print what would run, and stop")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    _set_up_logging()
    try:
        return _COMMANDS[arguments.command](arguments)
    except UserError as error:
        if arguments.debug:
            raise
        print(f"gpt2-jax: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return 0
    except BaseException as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None:
            raise
        print(f"gpt2-jax: {error}", file=sys.stderr)
        return exit_code


def _set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("gpt2_jax")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _set_up_compilation(arguments: argparse.Namespace) -> None:
    from gpt2_jax.compilation import keep_compiled_programs  # imports jax

    if not arguments.no_compilation_cache:
        keep_compiled_programs()


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
        return config.from_dict(
            config.FinetuneConfig, json.loads(path.read_text("utf-8")), str(path)
        )
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _finetune(arguments: argparse.Namespace) -> int:
    resolved = finetune_config(arguments)
    if arguments.dry_run:
        return _dry_run(resolved)
    from gpt2_jax.evaluation.report import format_results
    from gpt2_jax.training.loop import finetune

    _set_up_compilation(arguments)
    workdir = arguments.workdir
    if workdir is None:
        if arguments.resume:
            raise UserError("--resume needs the --workdir of the run to go on with")
        workdir = Path("checkpoints") / time.strftime("run-%Y%m%d-%H%M%S")
    results = finetune(resolved, workdir, resume=arguments.resume)
    print(*format_results(results), sep="\n")
    print(f"run: {workdir}")
    print(f"report: {workdir / 'report.html'}")
    return 0


def _dry_run(resolved: config.FinetuneConfig) -> int:
    from gpt2_jax.training.prepare import describe, length_histogram, prepare

    prepared = prepare(resolved)
    print(json.dumps(config.to_dict(resolved), indent=2))
    print(*describe(prepared), *length_histogram(prepared), sep="\n")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from gpt2_jax.inference.evaluate import evaluate_run

    data = None
    if arguments.data is not None:
        data = config.DataConfig(
            source=arguments.data,
            text_column=arguments.text_column,
            label_column=arguments.label_column,
        )
    _set_up_compilation(arguments)
    print(*evaluate_run(arguments.run, data), sep="\n")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from gpt2_jax.inference.classifier import Classifier

    _set_up_compilation(arguments)
    classifier = Classifier.load(arguments.run)
    human = arguments.output is None and bool(arguments.texts)
    results = _predicted(classifier, arguments, human=human)
    if arguments.output is None:
        for lines in results:
            print(*lines, sep="\n", flush=True)
        return 0
    first = next(results, [])  # an input that cannot be read leaves no output
    try:
        output = arguments.output.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{arguments.output}: cannot be written ({error.strerror})"
        ) from None
    count = 0
    with output:
        for lines in itertools.chain([first], results):
            print(*lines, sep="\n", file=output, flush=True)
            count += len(lines)
    print(f"{count} texts labelled: {arguments.output}", file=sys.stderr)
    return 0


def _predicted(
    classifier: Classifier, arguments: argparse.Namespace, *, human: bool
) -> Iterator[list[str]]:
    from gpt2_jax.inference.stream import batches_of_texts

    for texts in batches_of_texts(
        arguments.texts, arguments.file, arguments.text_column, sys.stdin
    ):
        cut = classifier.count_cut(texts)
        if cut:
            print(
                f"gpt2-jax: {cut} texts cut to {classifier.max_length} tokens",
                file=sys.stderr,
            )
        rows = classifier.predict_proba(texts)
        yield [
            _line(classifier.labels, text, row.tolist(), human=human)
            for text, row in zip(texts, rows, strict=True)
        ]


def _line(
    labels: Iterable[str], text: str, row: Sequence[float], *, human: bool
) -> str:
    probabilities = dict(zip(labels, row, strict=True))
    label = max(probabilities, key=probabilities.__getitem__)
    if human:
        shown = "  ".join(f"{name} {p:.4f}" for name, p in probabilities.items())
        line = f"{label}\t{shown}\t{text}"
    else:
        rounded = {name: round(p, 6) for name, p in probabilities.items()}
        values = {"text": text, "label": label, "probabilities": rounded}
        line = json.dumps(values, ensure_ascii=False)
    # Half an emoji, which JSON may hold, has no UTF-8; escaped it is JSON again.
    return line.encode("utf-8", "backslashreplace").decode()


_COMMANDS = {"finetune": _finetune, "evaluate": _evaluate, "predict": _predict}
