"""`gpt2-jax evaluate` and `gpt2-jax predict`: a trained run, in use."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_jax import config
from gpt2_jax.cli.threshold import probability
from gpt2_jax.errors import UserError

if TYPE_CHECKING:
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.inference.rows import Row


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parsers of both commands."""
    evaluate = commands.add_parser(
        "evaluate", parents=[common], help="metrics of a run on labelled texts"
    )
    evaluate.add_argument("run", metavar="RUN", type=Path)
    evaluate.add_argument(
        "--data", help="dataset or file; all of it. Default: the run's own test part"
    )
    evaluate.add_argument("--text-column")
    evaluate.add_argument("--label-column")
    evaluate.add_argument("--encoding", default="utf-8", help="of the text file")
    evaluate.add_argument(
        "--positive",
        metavar="CLASS",
        help="whose precision is told; default: the run's",
    )
    evaluate.add_argument("--verbose", action="store_true", help="tell of every class")

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
    for parser in (evaluate, predict):
        parser.add_argument(
            "--abstain-below",
            type=probability,
            metavar="P",
            help="give no label where its probability is below P",
        )
    predict.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last complete line of --output",
    )
    predict.add_argument(
        "--explain",
        nargs="?",
        choices=("occlusion", "gradients"),
        const="occlusion",
        help="mark the words that the label rests on; approximate",
    )


def run_evaluate(arguments: argparse.Namespace) -> int:
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.inference.evaluate import evaluate_run

    data = None
    if arguments.data is not None:
        try:
            data = config.DataConfig(
                source=arguments.data,
                text_column=arguments.text_column,
                label_column=arguments.label_column,
                encoding=arguments.encoding,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
    set_up_compilation(arguments)
    lines = evaluate_run(arguments.run, data, abstain_below=arguments.abstain_below)
    print(*lines, sep="\n")
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.inference.output import resume_answers, write_answers
    from gpt2_jax.inference.windows import windows

    output = arguments.output
    if arguments.resume and output is None:
        raise UserError("--resume needs the --output of the run to go on with")
    set_up_compilation(arguments)
    answers = _Answers(Classifier.load(arguments.run), arguments)
    source = windows(
        arguments.texts,
        arguments.file,
        arguments.text_column,
        sys.stdin.buffer,
        as_they_come=output is None,
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


class _Answers:
    """Turns windows of texts into lines; counts them on the way."""

    def __init__(self, classifier: Classifier, arguments: argparse.Namespace) -> None:
        from tqdm import tqdm

        self.classifier = classifier
        self.cut = 0
        self._method = arguments.explain
        self._abstain_below = arguments.abstain_below or 0.0
        self._human = arguments.output is None and bool(arguments.texts)
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        # Lines on the terminal show the progress themselves.
        quiet = arguments.output is None and sys.stdout.isatty()
        self.bar = tqdm(unit=" texts", disable=True if quiet else None)

    def __call__(self, window: list[Row]) -> list[str]:
        from gpt2_jax.inference.show import json_line, text_line

        texts = [row.text for row in window]
        predictions = self.classifier.classify(texts, abstain_below=self._abstain_below)
        explained: list[Any] = [None] * len(texts)
        if self._method is not None:
            explained = self.classifier.explain(texts, self._method)
        self.cut += sum(prediction.truncated for prediction in predictions)
        self.bar.update(len(texts))
        return [
            text_line(prediction, row.text, words, colour=self._colour)
            if self._human
            else json_line(prediction, row.id, words)
            for row, prediction, words in zip(
                window, predictions, explained, strict=True
            )
        ]
