"""Does it help to read the training texts first, on sets of one's own?

    python -m experiments.adaptation.field FOLDER... --seeds 0 1 2

Each folder holds a train.csv. The base model first reads the training part of the split
that the runs make of it, as `gpt2-jax adapt` does by default; no text that validates or
tests is read.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn.metrics import f1_score

from experiments.study.command import main
from experiments.study.spec import ACCURACIES, Setting, Study
from gpt2_jax import adapt
from gpt2_jax.config import AdaptConfig, DataConfig, FinetuneConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.workdir.predictions import PREDICTIONS

NAME = "adaptation-field"


def adapted(data: DataConfig, folder: Path) -> Path:
    """Adapt mini to the training part of `data`; go on with what was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(data)
    parts = split_dataset(dataset, data).parts()
    held_out = {dataset.texts[row] for p in ("validation", "test") for row in parts[p]}
    texts = [dataset.texts[row] for row in parts["train"]]
    lines = [json.dumps({"text": text}) for text in texts if text not in held_out]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    config = AdaptConfig(data=DataConfig(source=str(folder / "texts.jsonl")))
    return adapt(config, folder / "run", resume=True).weights


def validation_macro_f1(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    """Return it in percent."""
    path = run / PREDICTIONS["validation"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
    labels, predicted = zip(*rows, strict=True)
    return {"macro_f1": 100 * float(f1_score(labels, predicted, average="macro"))}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")


def build(arguments: argparse.Namespace) -> Study:
    bases = (arguments.workdir or Path("checkpoints") / NAME) / "bases"
    settings = []
    for folder in arguments.folders:
        data = DataConfig(source=str(folder / "train.csv"))
        for shown, weights in (
            ("mini, as shipped", "mini"),
            ("training part read first", str(adapted(data, bases / folder.name))),
        ):
            config = FinetuneConfig(weights=weights, data=data)
            settings.append(Setting(f"{folder.name}: {shown}", config))
    return Study(
        name=NAME,
        title="Does it help to read the training texts first?",
        question="Validation macro-F1, by what the base model has read before it is "
        "fine-tuned: its own corpus only, or the training texts without labels too.",
        settings=tuple(settings),
        command="python -m experiments.adaptation.field FOLDER...",
        metrics={
            "macro_f1": "validation macro-F1 (%)",
            "validation": ACCURACIES["validation"],
        },
        plots=(("macro_f1",),),
        measure=validation_macro_f1,
    )


if __name__ == "__main__":
    main(build, add_flags)
