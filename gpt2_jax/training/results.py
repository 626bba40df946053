"""What a finished run found."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.summary import format_results
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.storage.home import expanded
from gpt2_jax.storage.sealed import read_json
from gpt2_jax.workdir.metrics_log import MetricsLog


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Results(Mapping[str, Any]):
    """What a run found; it also reads as the dict that results.json holds."""

    accuracy: Mapping[str, float]  # of train, validation and test
    accuracy_before: float  # of test, before training
    test: Mapping[str, Any]  # metrics, confusion, the most confident errors
    calibration: Mapping[str, Any]
    # Accuracies on test, "macro_f1" by name, and a "verdict": see evaluation.baselines.
    baselines: Mapping[str, Any]
    seconds: Mapping[str, float]  # by phase, and "total"
    steps: int
    examples_seen: int
    params: Mapping[str, int]  # "total" and "trainable"
    weights: str
    data: Mapping[str, Any]
    seed: int
    device: str
    versions: Mapping[str, str]
    compilation_cache: Mapping[str, int]  # "hits" and "misses"
    # Results of the first versions have neither.
    date: str | None = None  # when the run ended, ISO 8601 with the offset to UTC
    run: str | None = None  # the name of its folder
    dtype: str | None = None  # of matmuls
    precision: str | None = None  # of those in float32
    # What n-grams add on validation: "on", scores "alone" and "together" (held out).
    lexical: Mapping[str, Any] | None = None
    # Medians of "step_seconds", "tokens_per_second" and "peak_fraction", the last where
    # the device's is known; "goodput": the steps' share of the time since the start.
    pace: Mapping[str, float] | None = None
    folder: str | None = None  # its path, or its URL; results.json has neither

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers about the test part, by name, such as accuracy and macro_f1."""
        numbers = {k: v for k, v in self.test.items() if isinstance(v, float)}
        return {"accuracy": self.accuracy["test"], **numbers}

    @functools.cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.jsonl, made for `pandas.DataFrame(results.history)`.

        Raises:
            UserError: the run is not on this machine.
        """
        return MetricsLog(self._file("metrics.jsonl")).read()

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The trained classifier.

        Raises:
            UserError: the run is not on this machine, or is damaged.
        """
        return Classifier.load(self._file("model").parent)

    @property
    def plots(self) -> dict[str, Picture]:
        """The pictures of the run, by name: loss, accuracy and confusion.

        There are none without matplotlib (the extra `report`).

        Raises:
            UserError: the run is not on this machine.
        """
        folder = self._file("results.json").parent
        names = ("loss", "accuracy", "confusion")
        found = {name: folder / f"{name}.png" for name in names}
        return {name: Picture(path) for name, path in found.items() if path.is_file()}

    def _file(self, name: str) -> Path:
        path = Path(self.folder or "") / name
        if self.folder is None or not path.exists():
            raise UserError(
                f"{self.folder}: no {name} there; is the run elsewhere now?"
            )
        return path

    def __repr__(self) -> str:
        return "\n".join([f"<Results of {self.run}>", *format_results(self)])

    def to_json(self) -> dict[str, Any]:
        """Return what results.json holds, in JSON's types."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["folder"]
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Results:
        """Return the results of a results.json, also of an older version."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    @classmethod
    def load(cls, run: str | Path) -> Results:
        """Return the results of a finished run, a folder.

        Raises:
            UserError: there is none, it is not finished, or it is damaged.
        """
        folder = expanded(run)
        path = folder / "results.json"
        if not path.is_file():
            raise UserError(f"{folder}: no results.json there; is the run finished?")
        found = cls.from_json(read_json(path))
        return dataclasses.replace(found, folder=str(folder))

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())
