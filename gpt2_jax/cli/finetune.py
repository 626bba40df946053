"""`gpt2-jax finetune`: flags -> config -> the main job."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gpt2_jax import config
from gpt2_jax.cli.beforehand import compile_programs, dry_run, set_up_devices
from gpt2_jax.cli.flags import add_flags, add_offline, with_flags
from gpt2_jax.errors import UserError
from gpt2_jax.storage import sealed

_T = TypeVar("_T")


def add_finetune(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `finetune`."""
    parser = commands.add_parser(
        "finetune",
        parents=[common],
        help="train a classifier",
        example="gpt2-jax finetune --data mail.csv --label-column kind --workdir mail",
        epilog="The defaults are those of --preset default; a flag that is given "
        "takes precedence over --preset and --config.",
    )
    add_config_flags(parser)
    _add_run_flags(parser.add_argument_group("run"))
    add_offline(parser)
    add_process_flags(parser.add_argument_group("processes"))


def add_config_flags(
    parser: argparse.ArgumentParser, *, without: Collection[str] = ()
) -> None:
    """Add the flags that `finetune_config` reads, `without` some fields."""
    add = parser.add_argument
    add(
        "--preset",
        choices=list(config.FINETUNE_PRESETS),
        default="default",
        help="settings to start from; book: those of LLMs-from-scratch (default: "
        "default)",
    )
    add("--config", type=Path, metavar="FILE", help="replay a run's config.json")
    add_flags(parser, config.FinetuneConfig(), without=without)


def _add_run_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--workdir",
        metavar="DIR",
        help="where the run is written: a folder, or a bucket's gs://... "
        "(default: a new folder in checkpoints/)",
    )
    add_resume(group)
    add(
        "--allow-data-change",
        action="store_true",
        help="resume though the data are not those that the run began with",
    )
    add(
        "--adapt",
        nargs="?",
        const="",
        metavar="FILE",
        help="first adapt the weights to its texts, read as --data is, or to the "
        "training texts: gpt2-jax adapt in the folder of the run's name with -adapted",
    )
    add(
        "--trunk-cache",
        type=Path,
        metavar="DIR",
        help="runs that share it compute the same frozen trunk once",
    )
    add(
        "--profile",
        type=int,
        default=0,
        metavar="STEPS",
        help="trace so many steps into profile/ of the run, for xprof and TensorBoard",
    )
    add("-v", "--verbose", action="store_true", help="show every class")
    add("--dry-run", action="store_true", help="print what would run, and stop")
    add(
        "--compile-only",
        action="store_true",
        help="keep the compiled programs of the run that the other flags describe, and "
        "stop; it then starts sooner",
    )
    add(
        "--json",
        action="store_true",
        help="print the results, or the dry run, as one JSON object; the rest goes to "
        "standard error",
    )


def add_resume(group: Any) -> None:
    group.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        choices=("auto",),
        help="go on from the newest checkpoint; auto: past damaged ones",
    )


def add_process_flags(group: Any) -> None:
    """Add the flags that `in_process_group` reads, and `--device`."""
    add = group.add_argument
    add("--device", choices=("cpu", "gpu", "tpu"), help="fail where there is none")
    add("--distributed", action="store_true", help="join the pod that the cloud names")
    add("--coordinator", metavar="HOST:PORT", help="of process 0; all meet there")
    add("--num-processes", type=int, metavar="N", help="that take part")
    add("--process-id", type=int, metavar="I", help="0 to N-1")
    add("--start-timeout", type=float, metavar="SECONDS", help="to wait for the others")


def finetune_config(arguments: argparse.Namespace) -> config.FinetuneConfig:
    """Return the preset, or the file given, with every flag given laid over it.

    Raises:
        UserError: a value that no run can have.
    """
    base = config.FINETUNE_PRESETS[arguments.preset]
    if arguments.config is not None:
        base = read_config(config.FinetuneConfig, arguments.config)
    return with_flags(base, arguments)


def read_config(kind: type[_T], path: Path) -> _T:
    """Read a config of this kind from the config.json of a run.

    Raises:
        UserError: it cannot be read, or is none.
    """
    try:
        values = sealed.parse(path.read_bytes())
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a JSON object ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return config.from_stored(kind, values, str(path))
    except ValueError as error:
        raise UserError(str(error)) from None


def run_finetune(arguments: argparse.Namespace) -> int:
    resolved = finetune_config(arguments)
    if arguments.adapt is not None:
        _check_adapts(arguments)
    if arguments.dry_run:
        return dry_run(arguments, resolved)
    action = compile_programs if arguments.compile_only else _run
    return in_process_group(arguments, lambda: action(arguments, resolved))


def _check_adapts(arguments: argparse.Namespace) -> None:
    """Refuse `--adapt` where it would be left out in silence.

    Raises:
        UserError: beside these flags it has no meaning.
    """
    beside = {
        "--dry-run": arguments.dry_run,
        "--compile-only": arguments.compile_only,
        "several processes": _is_distributed(arguments),
    }
    if given := [name for name, on in beside.items() if on]:
        raise UserError(
            f"--adapt does not go with {given[0]}: run gpt2-jax adapt first, and name "
            "its folder with --weights"
        )
    if arguments.workdir is None:
        raise UserError("--adapt needs --workdir, beside which its weights will lie")


def in_process_group(arguments: argparse.Namespace, action: Callable[[], int]) -> int:
    """Call `action`, where flags say so as one of several processes."""
    if not _is_distributed(arguments):
        return action()
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
        return action()


def _is_distributed(arguments: argparse.Namespace) -> bool:
    places = (arguments.coordinator, arguments.num_processes, arguments.process_id)
    return arguments.distributed or places != (None, None, None)


def _run(arguments: argparse.Namespace, resolved: config.FinetuneConfig) -> int:
    from gpt2_jax.distributed import is_first
    from gpt2_jax.evaluation.summary import format_results
    from gpt2_jax.training.adapt_first import adapt_first
    from gpt2_jax.training.finetune import finetune

    set_up_devices(arguments, resolved)
    if arguments.workdir is None and arguments.resume:
        raise UserError("--resume needs the --workdir of the run to go on with")
    how: dict[str, Any] = {"verbose": not arguments.quiet, "resume": arguments.resume}
    how["offline"] = arguments.offline
    with second_signal_ends():
        if arguments.adapt is not None:
            folder, texts = str(arguments.workdir), arguments.adapt or None
            resolved = adapt_first(resolved, folder, texts, **how)
        results = finetune(
            resolved,
            arguments.workdir,
            **how,
            allow_data_change=arguments.allow_data_change,
            trunk_cache=arguments.trunk_cache,
            profile=arguments.profile,
        )
    if is_first() and arguments.json:
        print(json.dumps({**results.to_json(), "folder": results.folder}))
    elif is_first() and not arguments.quiet:
        print(*format_results(results, verbose=arguments.verbose), sep="\n")
        print(f"run: {results.folder}")
        print(f"report: {results.folder}/report.html")
    return 0


@contextlib.contextmanager
def second_signal_ends() -> Iterator[None]:
    """Let a second Ctrl-C, after the one that saves, end the process where it is."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
