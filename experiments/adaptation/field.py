"""Does it help to read the training texts first, on sets of one's own?

    python -m experiments.adaptation.field FOLDER... --seeds 0 1 2

Each folder is a set of experiments/field. The base model first reads the training part
of the split that the runs make of it, as `gpt2-jax adapt` does by default; no text that
validates or tests is read.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from experiments.field.run import measure
from experiments.field.sets import data_of
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.training.adapt_first import adapt_first

NAME = "adaptation-field"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")


def build(arguments: argparse.Namespace) -> Study:
    bases = (arguments.workdir or Path("checkpoints") / NAME) / "bases"
    settings = []
    for folder in arguments.folders:
        data = dataclasses.replace(data_of(str(folder)), test_data=None)
        shipped = FinetuneConfig(data=data)
        adapted = adapt_first(shipped, bases / folder.name, resume=True)
        for shown, config in (
            ("mini, as shipped", shipped),
            ("training part read first", adapted),
        ):
            settings.append(Setting(f"{folder.name}: {shown}", config))
    return Study(
        name=NAME,
        title="Does it help to read the training texts first?",
        question="Validation macro-F1, by what the base model has read before it is "
        "fine-tuned: its own corpus only, or the training texts without labels too.",
        settings=tuple(settings),
        command="python -m experiments.adaptation.field FOLDER...",
        metrics={
            "validation_macro_f1": "validation macro-F1 (%)",
            "alone_validation_macro_f1": "the same without the lexical part (%)",
        },
        plots=(("validation_macro_f1",),),
        measure=measure,
        lexical=True,
    )


if __name__ == "__main__":
    main(build, add_flags)
