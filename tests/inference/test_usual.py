"""Files are read for prediction as the run read its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2_jax.data.reading import Reading
from gpt2_jax.inference.rows import as_usual, open_entries, usual_reading


def _run(folder: Path, **data: object) -> Path:
    (folder / "config.json").write_text(json.dumps({"data": data}))
    return folder


@pytest.mark.parametrize(("own", "between"), [(None, " | "), ("-", "-")])
def test_texts_are_joined_as_in_training_unless_another_way_is_said(
    own, between, tmp_path
):
    run = _run(tmp_path, text_column=["a", "b"], join=" | ")
    how = as_usual(Reading(join=own), usual_reading(run))
    (tmp_path / "x.csv").write_text("a,b\none,two\n")
    with (
        (tmp_path / "x.csv").open("rb") as file,
        open_entries(file, "x.csv", how) as entries,
    ):
        assert [entry.text for entry in entries] == [f"one{between}two"]


def test_a_folder_that_is_no_run_has_the_usual_column(tmp_path):
    assert usual_reading(tmp_path) == Reading()
    assert usual_reading(_run(tmp_path, text_column=None)).usual == ("text",)
