"""Metrics of a trained run on labelled texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import DataConfig, ForeignConfig
from gpt2_jax.data.columns import ColumnsError
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.data.unused import UnusedError
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.evaluation.metrics import evaluate_probabilities
from gpt2_jax.evaluation.summary import format_test
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.plan.task import ids_sha256
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.weights.foreign import read_classifier
from gpt2_jax.weights.trained import model_folder
from gpt2_jax.workdir.claim import RUN
from gpt2_jax.workdir.own_data import own_data, stored_data

# How other data are read, too. The encoding is none of it: another than the run's
# would be read wrongly in silence.
_ROWS = ("text_column", "join", "delimiter", "quote", "header", "label_column")
_LABELS = ("label_names", "label_threshold", "rename_labels")


_UNSAID = ForeignConfig()


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What labelled texts say of a run."""

    labels: tuple[str, ...]
    accuracy: float  # of the answers, by the threshold where there is one
    test: dict[str, Any]  # of `evaluate_probabilities`
    told: list[str]  # which texts, read how, decided how
    coverage: dict[str, Any] | None = None  # with `abstain_below`

    def lines(self, *, verbose: bool = False) -> list[str]:
        """Return it line by line; `verbose`: of every class."""
        low, high = (100 * bound for bound in self.test["ci95"])
        lines = [
            *self.told,
            f"accuracy {100 * self.accuracy:.2f}% (95% interval {low:.1f} to "
            f"{high:.1f}, n={self.test['n']})",
        ]
        if (found := self.coverage) is not None:
            count, n, value = found["answered"], found["n"], found["accuracy"]
            shown = "n/a" if value is None else f"{100 * value:.2f}%"
            lines.append(
                f"abstaining below {found['abstain_below']:g}: {count} of {n} texts "
                f"answered ({100 * count / n:.1f}%), accuracy of these {shown}"
            )
        return [*lines, *format_test(self.test, self.labels, verbose=verbose)]

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return dataclasses.asdict(self)


def evaluate_run(
    run: Path,
    data: DataConfig | None,
    *,
    abstain_below: float | None = None,
    positive: str | None = None,
    how: ForeignConfig = _UNSAID,
    offline: bool = False,
) -> Evaluated:
    """Return the metrics of `run`.

    Without `data` they are of the run's own test part; with it, of every text of it,
    read as the run read its own where `data` says nothing else.
    With `abstain_below` it is told, too, how many answers have at least this
    probability, and how good these are. `positive` is the class whose precision is
    told; None: that of the run. `how` and `offline` are for the classifier of another
    program: see `read_classifier`.

    Raises:
        DataError: the data cannot be read, or has a label that the run never saw.
        WeightsError: the run cannot be read.
    """
    classifier = Classifier(read_classifier(run, how, offline=offline))
    if data is None:
        if model_folder(run) is None:
            raise UserError(
                f"{run}: a classifier of another program, which tells of no test part; "
                "give labelled texts with --data"
            )
        config = own_data(run)
        dataset = _load_own(run, config, classifier.labels)
        rows = split_dataset(dataset, config).test
        _check_own(run, dataset, rows)
    else:
        dataset = _load_other(run, data, classifier.labels)
        rows = np.arange(len(dataset.texts))
    unknown = sorted(set(dataset.classes) - set(classifier.labels))
    if unknown:
        raise DataError(
            f"{dataset.name}: labels {', '.join(unknown)} are not among the run's "
            f"{', '.join(classifier.labels)}"
        )
    index = [classifier.labels.index(name) for name in dataset.classes]
    labels = np.asarray(index)[np.asarray(dataset.labels)[rows]]
    texts = [dataset.texts[row] for row in rows]
    probabilities = classifier.predict_proba(texts)
    answers = classifier.decide(probabilities)
    predicted = np.asarray([classifier.labels.index(str(name)) for name in answers])
    test = evaluate_probabilities(
        probabilities,
        labels,
        classifier.labels,
        predicted,
        positive=_positive(classifier, positive),
    )
    accuracy = float((predicted == labels).mean())
    told = [
        f"data: {dataset.name}: {len(texts)} of {len(dataset.texts)} texts, "
        f"{classifier.count_cut(texts)} cut to {classifier.max_length} tokens",
        *(f"data: {line}" for line in _read_as(dataset)),
        *_threshold(classifier),
    ]
    coverage = None
    if abstain_below is not None:
        sure = classifier.decide(probabilities, abstain_below=abstain_below)
        answered = np.asarray([name is not None for name in sure])
        coverage = _coverage(predicted == labels, answered, abstain_below)
    return Evaluated(classifier.labels, accuracy, test, told, coverage)


def _threshold(classifier: Classifier) -> list[str]:
    if classifier.threshold is None:
        return []
    index, value = classifier.threshold
    name = classifier.labels[index]
    return [f"threshold: {name} from a probability of {value:.6f} on"]


def _read_as(dataset: Dataset) -> list[str]:
    known = dataset.understood
    return [*(known.lines() if known is not None else []), *dataset.notes]


def _positive(classifier: Classifier, positive: str | None) -> str | None:
    if positive is None:
        return classifier.positive
    if positive not in classifier.labels:
        raise UserError(
            f"--positive {positive!r} is no class of the run; it has "
            f"{', '.join(classifier.labels)}"
        )
    return positive


def _coverage(
    correct: np.ndarray, answered: np.ndarray, below: float
) -> dict[str, Any]:
    count = int(answered.sum())
    return {
        "abstain_below": below,
        "answered": count,
        "n": len(answered),
        "accuracy": float(correct[answered].mean()) if count else None,
    }


def _check_own(run: Path, dataset: Dataset, rows: np.ndarray) -> None:
    """Refuse to call another part the run's own; its data or config may be others now.

    Raises:
        DataError: these are not the texts that it was not trained on.
    """
    path = run / RUN
    if not path.is_file():  # an older version wrote the run
        return
    told = read_json(path).get("is")
    here = {"data.sha256": dataset.sha256, "data.rows.test": ids_sha256(rows)}
    if not isinstance(told, dict) or any(told.get(key) != here[key] for key in here):
        raise DataError(
            f"{run}: its test part is another now: {dataset.name}, config.json or "
            f"{RUN} has changed; give labelled texts with --data"
        )


def _load_other(run: Path, data: DataConfig, classes: Sequence[str]) -> Dataset:
    """Load `data` by the run's own columns, or else by those of the default.

    What its labels mean is as the run was told, either way.
    """
    ours = model_folder(run) == run / "model" and (run / "config.json").is_file()
    if not ours:  # a model alone, or another program's
        return load_dataset(data, to_train=False, classes=classes)
    own = stored_data(run)
    try:
        return _load_as_trained(data, own, _ROWS + _LABELS, classes)
    except UnusedError:  # of what `data` says itself
        raise
    except ColumnsError:
        return _load_as_trained(data, own, _LABELS, classes)


def _load_as_trained(
    data: DataConfig, own: DataConfig, fields: Sequence[str], classes: Sequence[str]
) -> Dataset:
    """Load `data` with those `fields` of the run that it says nothing of."""
    default = DataConfig()
    unsaid = {f for f in fields if getattr(data, f) == getattr(default, f)}
    while True:
        way = dataclasses.replace(data, **{f: getattr(own, f) for f in unsaid})
        try:
            return load_dataset(way, to_train=False, classes=classes)
        except UnusedError as error:  # of another form than the run's own
            if not unsaid & set(error.fields):
                raise
            unsaid -= set(error.fields)


def _load_own(run: Path, config: DataConfig, classes: Sequence[str]) -> Dataset:
    try:
        return load_dataset(config, to_train=False, classes=classes)
    except DataError as error:
        raise DataError(
            f"{run}: what it was trained on cannot be read: {error}; if it was moved, "
            "give labelled texts with --data"
        ) from error
