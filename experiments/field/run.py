"""Is it better than a linear model on other people's texts?

python -m experiments.field.run SET [SET ...] --recipes default --seeds 0 1 2

A set is a folder with train.csv and test.csv, or `demo`, which ships. Finished runs are
kept in the workdir; seeds and recipes that come one after the other share their trunk.
Without --test the table is of the validation parts, to choose by; the test parts are
for the end. --sentences puts sentence embeddings beside, which needs PyTorch; see
experiments/field/sentences.py.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.baselines import parts_of
from experiments.field.linear import NAMES, measure_linear, scores
from experiments.field.recipes import GIVEN, RECIPES, config_of, folder_of
from experiments.field.sentences import NAME as SENTENCES
from experiments.field.sentences import measure_sentences
from experiments.field.sets import OWN, data_of
from experiments.study.beside import measured
from experiments.study.runs import run_once
from experiments.study.spec import Row, Setting, Study
from gpt2_jax import finetune
from gpt2_jax.config import FinetuneConfig, from_stored
from gpt2_jax.engine.compilation import keep_compiled_programs
from gpt2_jax.evaluation.statistics import summarize
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.weights.trained import load_model
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.predictions import PREDICTIONS, read_predictions

log = logging.getLogger("gpt2_jax.study")
ALONE = "alone"


def measure(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of a run, and of its model without the lexical part."""
    config = from_stored(FinetuneConfig, json.loads((run / "config.json").read_text()))
    alone, parts = Classifier(load_model(run).alone()), parts_of(config)
    numbers = {}
    for part in ("validation", "test"):
        together, (texts, labels) = (
            read_predictions(run / PREDICTIONS[part]),
            parts[part],
        )
        found = {
            "": scores(together.probabilities, together.answers.labels),
            f"{ALONE}_": scores(alone.logits(texts), labels),
        }
        for prefix, values in found.items():
            for metric, value in values.items():
                numbers[f"{prefix}{part}_{metric}"] = value
    return numbers


STUDY = Study(
    name="field",
    title="Other people's texts",
    question="Is it better than a linear model?",
    settings=(),
    command="python -m experiments.field.run",
    metrics={},
    measure=measure,
    lexical=True,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[OWN], metavar="SET")
    parser.add_argument("--recipes", nargs="+", default=["default"], choices=[*RECIPES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("checkpoints/field"))
    parser.add_argument("--test", action="store_true", help="show the test parts")
    parser.add_argument("--sentences", action="store_true", help="measure MiniLM too")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    keep_compiled_programs()
    lines, memo = [], Memo()
    for folder in arguments.sets:
        data, name = data_of(folder), Path(folder).name
        config = config_of(arguments.recipes[0], data)
        linear = measured(
            lambda config, seed: measure_linear(config),
            config,
            0,
            arguments.workdir / "linear" / name,
        )
        if arguments.sentences:
            sentences = measured(
                lambda config, seed: {SENTENCES: measure_sentences(config)},
                config,
                0,
                arguments.workdir / "sentences" / name,
            )
            linear = {**linear, **sentences}
        rows = {
            recipe: [
                run_once(
                    STUDY,
                    Setting(recipe, config_of(recipe, data)),
                    seed,
                    folder_of(recipe, arguments.workdir),
                    runner=functools.partial(finetune, **GIVEN.get(recipe, {})),
                    memo=memo,
                )
                for seed in arguments.seeds
            ]
            for recipe in arguments.recipes
        }
        lines.append((name, linear, rows))
        log.info("%s: done", name)
    print(table(lines, "test" if arguments.test else "validation"), end="")


def table(
    lines: Sequence[
        tuple[str, Mapping[str, Mapping[str, float]], Mapping[str, Sequence[Row]]]
    ],
    part: str,
) -> str:
    """Return accuracy / macro-F1 by set, their means, and how many sets are won.

    A set is won where the mean macro-F1 over seeds is not below that of the better
    linear model on TF-IDF.
    """
    metrics = [f"{part}_{metric}" for metric in ("accuracy", "macro_f1")]
    recipes = [*lines[0][2]]
    columns = [*lines[0][1]]
    for recipe in recipes:
        columns += [f"{recipe}, model alone", recipe]
    cells, gains = [], []
    for _, linear, rows in lines:
        found = [[scores[m] for m in metrics] for scores in linear.values()]
        best = max(linear[name][metrics[1]] for name in NAMES.values())
        for recipe in recipes:
            for prefix in (f"{ALONE}_", ""):
                found.append(
                    [
                        summarize(
                            [row.numbers[prefix + m] for row in rows[recipe]]
                        ).mean
                        for m in metrics
                    ]
                )
        cells.append(found)
        gains.append([values[1] - best for values in found])
    text = f"| set | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}\n"
    for (name, _, _), found in zip(lines, cells, strict=True):
        shown = " | ".join(f"{a:.1f} / {f:.1f}" for a, f in found)
        text += f"| {name} | {shown} |\n"
    means = np.mean(cells, axis=0)
    shown = " | ".join(f"{a:.1f} / {f:.1f}" for a, f in means)
    text += f"| mean | {shown} |\n"
    won, by = (np.asarray(gains) >= 0).sum(0), np.mean(gains, axis=0)
    shown = " | ".join(
        f"{n} of {len(lines)}, {g:+.1f}" for n, g in zip(won, by, strict=True)
    )
    return text + f"| won, and macro-F1 ahead in the mean | {shown} |\n"


if __name__ == "__main__":
    main()
