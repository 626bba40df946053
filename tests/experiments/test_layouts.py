"""The table of layouts tells what is right from what is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from experiments.layouts import hugging_face  # noqa: F401  (registers its layouts)
from experiments.layouts.run import failure_of, read, table_of
from experiments.layouts.spec import LAYOUTS


@pytest.mark.slow
def test_a_layout_is_accepted_with_pytorchs_logits_or_it_is_said(tmp_path):
    (layout,) = [each for each in LAYOUTS if each.name == "n_inner=20"]
    place = tmp_path / "000"
    expected = layout.write(place)
    facts = {"name": "x", "title": "y", "path": ".", "refused": None, "told": {}}
    told = place.with_suffix(".json")
    told.write_text(json.dumps(facts))
    np.save(place.with_suffix(".npy"), expected)
    right = read(told)
    assert right.failure is None and (right.difference or 1) < 1e-5
    np.save(place.with_suffix(".npy"), expected + 2e-4)
    assert read(told).failure == "other logits"
    assert "**other logits**" in table_of([read(told)])
    told.write_text(json.dumps({**facts, "refused": "n_inner"}))
    assert read(told).failure == "accepted, though it must not be"


def test_a_refusal_is_one_line_that_says_what_it_must():
    assert failure_of("a GGUF file; use", "GGUF") is None
    assert failure_of("a GGUF file; use", None) == "refused, though it can be read"
    assert failure_of("a GGUF\nfile", "GGUF") == "several lines"
    assert failure_of("something", "GGUF") == "does not say 'GGUF'"
