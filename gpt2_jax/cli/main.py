"""The command line: parse, build a config, call. No logic lives here."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import sys
from collections.abc import Sequence

from gpt2_jax.cli import adapt as cli_adapt
from gpt2_jax.cli import check as cli_check
from gpt2_jax.cli import doctor as cli_doctor
from gpt2_jax.cli import predict as cli_predict
from gpt2_jax.cli import runs as cli_runs
from gpt2_jax.cli import streams, weights
from gpt2_jax.cli import sweep as cli_sweep
from gpt2_jax.cli import threshold as cli_threshold
from gpt2_jax.cli.finetune import add_finetune, run_finetune
from gpt2_jax.cli.parser import Parser, paint
from gpt2_jax.cli.platforms import leave_out_absent
from gpt2_jax.cli.serve import add_serve, run_serve
from gpt2_jax.errors import (
    PREDICT_MEMORY_ADVICE,
    DeviceError,
    UserError,
    explain_out_of_memory,
)
from gpt2_jax.version import __version__
from gpt2_jax.workdir.console import console_handler

_MAX_MESSAGE = 4000  # characters

# New objects from one search for garbage to the next; imports make half a million that
# all stay.
_GARBAGE = 100_000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="gpt2-jax",
        description="Turn a pretrained GPT-2 into a text classifier.",
        epilog="gpt2-jax COMMAND --help tells the flags of a command.",
        example="gpt2-jax finetune --data mail.csv --workdir mail",
    )
    parser.add_argument("--version", action="version", version=__version__)
    common = argparse.ArgumentParser(add_help=False)
    output = common.add_argument_group("output")
    output.add_argument("-q", "--quiet", action="store_true", help="warnings alone")
    output.add_argument("--debug", action="store_true", help="show tracebacks")
    output.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile again; keep no compiled programs in the user's cache folder",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_finetune(commands, common)
    cli_sweep.add_parsers(commands, common)
    cli_runs.add_parsers(commands, common)
    cli_adapt.add_parser(commands, common)
    add_serve(commands, common)
    cli_predict.add_parsers(commands, common)
    cli_threshold.add_parser(commands, common)
    weights.add_parsers(commands, common)
    cli_check.add_parser(commands, common)
    cli_doctor.add_parser(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    streams.make_ready()
    gc.set_threshold(_GARBAGE)
    # What is left at the end goes with the process: to search it, a million objects of
    # jax, for what refers to itself takes a third of a second.
    atexit.register(gc.freeze)
    leave_out_absent()
    arguments = build_parser().parse_args(argv)
    _set_up_logging(arguments)
    try:
        with explain_out_of_memory(PREDICT_MEMORY_ADVICE):
            return _COMMANDS[arguments.command](arguments)
    except UserError as error:
        if arguments.debug:
            raise
        return _fail(error, error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return 0
    except OSError as error:  # of a path that nothing else has looked at, or a disk
        if arguments.debug or error.strerror is None:
            raise
        if error.filename is None:
            return _fail(error.strerror, DeviceError.exit_code)
        return _fail(f"{error.filename}: {error.strerror}", UserError.exit_code)
    except BaseException as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None and (reason := _missing_platform(error)):
            return _fail(reason, DeviceError.exit_code)
        if exit_code is None or arguments.debug:
            raise
        print(f"gpt2-jax: {error}", file=sys.stderr)
        return exit_code


def _missing_platform(error: BaseException) -> str | None:
    if "jax" not in sys.modules:
        return None
    from gpt2_jax.engine.devices import missing_platform

    return missing_platform(error)


def _fail(what: object, exit_code: int) -> int:
    """Say it in one line, whatever names and values of the user's it repeats."""
    text = str(what)
    if len(text) > _MAX_MESSAGE:
        text = f"{text[: _MAX_MESSAGE - 200]} [...] {text[-200:]}"
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    error = paint("gpt2-jax: error:", "1;31", sys.stderr)
    print(f"{error} {line}", file=sys.stderr)
    return exit_code


def _set_up_logging(arguments: argparse.Namespace) -> None:
    logger = logging.getLogger("gpt2_jax")
    # What a script reads stands alone on standard output.
    json_alone = getattr(arguments, "json", False)
    logger.handlers = [console_handler(sys.stderr if json_alone else sys.stdout)]
    logger.setLevel(logging.WARNING if arguments.quiet else logging.INFO)
    logger.propagate = False


_COMMANDS = {
    "finetune": run_finetune,
    "sweep": cli_sweep.run_sweep,
    "cv": cli_sweep.run_cv,
    "label-errors": cli_runs.run_label_errors,
    "runs": cli_runs.run_runs,
    "compare": cli_runs.run_compare,
    "adapt": cli_adapt.run_adapt,
    "evaluate": cli_predict.run_evaluate,
    "predict": cli_predict.run_predict,
    "threshold": cli_threshold.run_threshold,
    "convert": weights.convert,
    "export": weights.export,
    "inspect": weights.inspect,
    "serve": run_serve,
    "check": cli_check.run_check,
    "tpu-check": cli_check.run_check,
    "doctor": cli_doctor.run_doctor,
}
