"""What a finished run found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, eq=False)
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
    folder: str | None = None  # its path, or its URL; results.json has neither

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

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())
