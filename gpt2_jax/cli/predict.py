"""`gpt2-jax evaluate` and `gpt2-jax predict`: a trained run, in use."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gpt2_jax.cli.answers import METHODS, Answers
from gpt2_jax.cli.flags import add_flags, add_reading, add_run, given_flags, with_flags
from gpt2_jax.cli.streams import write_json_lines
from gpt2_jax.cli.threshold import probability
from gpt2_jax.config import DataConfig, ForeignConfig
from gpt2_jax.config.data import LABELS, ROWS
from gpt2_jax.errors import UserError
from gpt2_jax.progress import bars


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parsers of both commands."""
    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        help="metrics of a run on labelled texts",
        example="gpt2-jax evaluate mail --data new-mail.csv",
    )
    add_run(evaluate)
    evaluate.add_argument(
        "--data",
        dest="source",
        metavar="D",
        action="append",
        help="dataset or files; all of them (default: the run's own test part)",
    )
    add_flags(evaluate, DataConfig(), sections=(ROWS, LABELS), without=("source",))
    evaluate.add_argument(
        "-v", "--verbose", action="store_true", help="show every class"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="label texts with a run",
        example='gpt2-jax predict mail "You have won a prize" --explain',
    )
    predict.rewrite, predict.intermixed = method_of_explain, True
    add_run(predict)
    predict.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="to label; without any, and without --file, they come on standard input",
    )
    predict.add_argument(
        "--file",
        type=Path,
        help="texts: a table (.csv, .tsv, .jsonl, .json, .parquet, .xlsx, .zip) with a "
        "text column, else one on each line",
    )
    add_flags(predict, DataConfig(), sections=(ROWS,), without=("source",))
    predict.add_argument("--output", type=Path, help="write JSON lines to this file")
    for parser in (evaluate, predict):
        parser.add_argument(
            "--abstain-below",
            type=probability,
            metavar="P",
            help="give no label where its probability is below P",
        )
        add_reading(parser)
    predict.add_argument(
        "--top-k",
        type=int,
        default=3,
        metavar="K",
        help="show the K likeliest classes of each TEXT (default: %(default)s); JSON "
        "lines hold them all",
    )
    there = predict.add_mutually_exclusive_group()
    there.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last complete line of --output",
    )
    there.add_argument(
        "--overwrite", action="store_true", help="replace the file of --output"
    )
    predict.add_argument(
        "--explain",
        action="store_true",
        help="mark the words that the label rests on; approximate",
    )
    predict.add_argument(
        "--explain-method",
        choices=METHODS,
        help="how: each word left out in turn, or integrated gradients (default: "
        "occlusion)",
    )


def method_of_explain(words: list[str]) -> list[str]:
    """Let a method right after `--explain` count as one, as it once had to stand."""
    out: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, _, method = word.partition("=")
        if word == "--":
            return [*out, word, *rest]
        if out[-1:] == ["--explain"] and word in METHODS:
            out += ["--explain-method", word]
        elif flag == "--explain" and method:
            out += ["--explain", "--explain-method", method]
        else:
            out.append(word)
    return out


def run_evaluate(arguments: argparse.Namespace) -> int:
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.inference.evaluate import evaluate_run

    data = None
    if arguments.source is not None:
        data = with_flags(DataConfig(), arguments)
    elif given := given_flags(DataConfig(), arguments, without=("positive",)):
        raise UserError(
            f"{', '.join(given)}: the run's own test part is read as the run read it; "
            "give labelled texts with --data, or omit the flag"
        )
    set_up_compilation(arguments)
    with bars(shown=not arguments.quiet):
        evaluated = evaluate_run(
            arguments.run,
            data,
            abstain_below=arguments.abstain_below,
            positive=arguments.positive,
            how=with_flags(ForeignConfig(), arguments),
            offline=arguments.offline,
        )
    if arguments.json:
        print(json.dumps(evaluated.to_json()))
    else:
        print(*evaluated.lines(verbose=arguments.verbose), sep="\n")
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    from gpt2_jax.data.sources import reading
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.inference.output import resume_answers, write_answers
    from gpt2_jax.inference.rows import as_usual, usual_reading
    from gpt2_jax.inference.windows import windows
    from gpt2_jax.weights.foreign import read_classifier

    output = arguments.output
    if arguments.top_k < 1:
        raise UserError(f"--top-k must be at least 1, got {arguments.top_k}")
    if arguments.resume and output is None:
        raise UserError("--resume needs the --output of the run to go on with")
    if arguments.overwrite and output is None:
        raise UserError("--overwrite needs the --output to replace")
    # A device or a pipe loses nothing.
    if output and output.is_file() and not (arguments.resume or arguments.overwrite):
        raise UserError(
            f"{output}: is there already; choose another --output, go on with --resume,"
            " or replace it with --overwrite"
        )
    if arguments.file is None:
        _refuse_flags_of_files(arguments)
    own = reading(with_flags(DataConfig(), arguments))
    how = as_usual(own, usual_reading(arguments.run))
    set_up_compilation(arguments)
    if output is None and not arguments.texts:
        write_json_lines()
    foreign = with_flags(ForeignConfig(), arguments)
    trained = read_classifier(arguments.run, foreign, offline=arguments.offline)
    answers = Answers(Classifier(trained), arguments)
    source = windows(
        arguments.texts,
        arguments.file,
        how,
        sys.stdin.buffer,
        as_they_come=output is None,
        tell=answers.tell,
    )
    with answers.bar:
        if output is None:
            for window in source:
                print(*answers(window), sep="\n", flush=True)
        else:
            write = write_answers
            if arguments.resume and output.exists():
                write = resume_answers
            count = sum(write(output, source, answers))
            print(f"{count} texts labelled: {output}", file=sys.stderr)
    if answers.cut:
        print(
            f"gpt2-jax: {answers.cut} texts cut to {answers.classifier.max_length} "
            "tokens",
            file=sys.stderr,
        )
    return 0


def _refuse_flags_of_files(arguments: argparse.Namespace) -> None:
    """Refuse what is said of a table where there is none.

    Raises:
        UserError: something is said.
    """
    what, used = "a TEXT is read as it is", ()
    if not arguments.texts:  # columns are those of JSON lines
        what = "standard input holds JSON lines, or a text on each line"
        used = ("text_column", "join", "encoding", "encoding_errors")
    if given := given_flags(DataConfig(), arguments, without=used):
        raise UserError(f"{', '.join(given)}: {what}; give a table with --file")
