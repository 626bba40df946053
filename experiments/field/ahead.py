"""How far ahead are runs of a linear model that was fitted on all of train.csv?

    python -m experiments.field.ahead SET [SET ...] --seeds 0 1 2

The linear models are logistic regression (C=10) on TF-IDF of characters or of words,
which need no validation; the better one on the test part counts. The runs are those of
`experiments.field.run`, which hold an eighth of the texts out. Prints macro-F1 in
percent on the test part, and how far ahead they are, with the standard error over seeds
and texts (bootstrap).

Of a class so rare that it is the likeliest label of no validation text, a second line
is of the answers by `gpt2-jax threshold --best-f1`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.field.recipes import RECIPES, config_of
from experiments.field.run import STUDY
from experiments.field.sets import OWN, data_of
from experiments.study.runs import run_once
from experiments.study.spec import Setting
from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.evaluation.decision import choose_best_f1, decide
from gpt2_jax.evaluation.statistics import Answers, mean_score, resampled
from gpt2_jax.lexical.fit import fit_linear
from gpt2_jax.lexical.ngrams import NGRAMS
from gpt2_jax.workdir.predictions import PREDICTIONS, Predictions, read_predictions

HEAD = ("set", "linear model", "runs", "ahead", "standard error")


def linear_answers(data: DataConfig, test: Predictions) -> Answers:
    """Return the better linear model's answers to the texts of `test`."""
    dataset = load_dataset(data)
    parts = split_dataset(dataset, data).parts()
    rows = np.concatenate([parts["train"], parts["validation"]])
    names = [dataset.classes[dataset.labels[row]] for row in rows]
    labels = np.asarray([test.classes.index(name) for name in names])
    texts = [dataset.texts[row] for row in rows]
    found = []
    for kind in NGRAMS:
        model = fit_linear(kind, texts, labels, len(test.classes))
        if model is not None:
            found.append(Answers(test.answers.labels, model.logits(test.texts)))
    return max(found, key=lambda answers: mean_score([answers], "f1"))


def by_threshold(run: Path) -> Answers | None:
    """Return a run's answers by the best F1 of a class that validation never names."""
    validation = read_predictions(run / PREDICTIONS["validation"])
    test = read_predictions(run / PREDICTIONS["test"])
    named = np.bincount(validation.probabilities.argmax(-1), minlength=2)
    if len(test.classes) != 2 or named.all():
        return None
    rare = int(named.argmin())
    of_rare = validation.answers.labels == rare
    threshold = choose_best_f1(validation.probabilities[:, rare], of_rare).value
    answers = decide(test.probabilities, (rare, threshold))
    return Answers(test.answers.labels, np.eye(2)[answers])


def lines(
    name: str, linear: Answers, runs: Sequence[Path]
) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield what stands below `HEAD` of a set."""
    ours = [read_predictions(run / PREDICTIONS["test"]).answers for run in runs]
    chosen = [by_threshold(run) for run in runs]
    thresholds = [answers for answers in chosen if answers is not None]
    told = [(name, ours)]
    if len(thresholds) == len(runs):
        told.append((f"{name}, by the threshold", thresholds))
    for words, answers in told:
        drawn = resampled([[linear] * len(runs), answers], "f1")
        theirs, mean = mean_score([linear], "f1"), mean_score(answers, "f1")
        error = float((drawn[:, 1] - drawn[:, 0]).std())
        yield words, theirs, mean, mean - theirs, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[OWN], metavar="SET")
    parser.add_argument("--recipe", default="default", choices=[*RECIPES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("checkpoints/field"))
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for folder in arguments.sets:
        data = data_of(folder)
        setting = Setting(arguments.recipe, config_of(arguments.recipe, data))
        rows = [
            run_once(STUDY, setting, seed, arguments.workdir)
            for seed in arguments.seeds
        ]
        runs = [arguments.workdir / row.run for row in rows]
        linear = linear_answers(data, read_predictions(runs[0] / PREDICTIONS["test"]))
        for words, *numbers in lines(Path(folder).name, linear, runs):
            shown = " | ".join(f"{value:.1f}" for value in numbers)
            print(f"| {words} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
