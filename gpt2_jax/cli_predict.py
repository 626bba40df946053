"""`gpt2-jax evaluate` and `gpt2-jax predict`: a trained run, in use."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_jax import config
from gpt2_jax.cli_threshold import probability
from gpt2_jax.errors import UserError

if TYPE_CHECKING:
    from gpt2_jax.inference.classifier import Classifier


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


def run_evaluate(arguments: argparse.Namespace) -> int:
    from gpt2_jax.compilation import set_up_compilation
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
    from gpt2_jax.compilation import set_up_compilation
    from gpt2_jax.inference.classifier import Classifier

    set_up_compilation(arguments)
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
        answers = classifier.decide(rows, abstain_below=arguments.abstain_below or 0.0)
        yield [
            _line(classifier.labels, label, text, row.tolist(), human=human)
            for label, text, row in zip(answers, texts, rows, strict=True)
        ]


def _line(
    labels: Iterable[str],
    label: str | None,
    text: str,
    row: Sequence[float],
    *,
    human: bool,
) -> str:
    probabilities = dict(zip(labels, row, strict=True))
    if human:
        shown = "  ".join(f"{name} {p:.4f}" for name, p in probabilities.items())
        line = f"{'?' if label is None else label}\t{shown}\t{text}"
    else:
        rounded = {name: round(p, 6) for name, p in probabilities.items()}
        values = {"text": text, "label": label, "probabilities": rounded}
        line = json.dumps(values, ensure_ascii=False)
    # Half an emoji, which JSON may hold, has no UTF-8; escaped it is JSON again.
    return line.encode("utf-8", "backslashreplace").decode()
