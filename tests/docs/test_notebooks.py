"""The notebooks run as they are kept, and are kept with what they show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
_NAMES = {
    *("chapter6", "own_csv", "many_devices", "pmap_to_shard_map"),
    "explain_and_calibrate",
}


def _code(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_all_are_there():
    assert {path.stem for path in _BOOKS} == _NAMES


@pytest.mark.parametrize("path", _BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_executed_and_whole(path):
    cells = _code(path)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))  # from top to bottom, once
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    streams = [o["name"] for o in outputs if o["output_type"] == "stream"]
    assert "stderr" not in streams  # no warning, no noise
    first = "".join(cells[0]["source"])
    assert "TPU" in first  # each says what to do on the other devices


def test_the_plots_are_kept_as_pictures():
    for path in _BOOKS:
        cells = _code(path)
        kinds = {
            kind for c in cells for o in c["outputs"] for kind in o.get("data", ())
        }
        draws = any("plt." in "".join(c["source"]) for c in cells)
        assert not draws or "image/png" in kinds, path.stem


@pytest.mark.slow
@pytest.mark.parametrize("path", _BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    root = str(_BOOKS[0].parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    book = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, resources=where).execute()
    ran = [cell for cell in book.cells if cell.cell_type == "code"]
    for kept, cell in zip(_code(path), ran, strict=True):
        # What is printed may come in more pieces, or with notes of jax's plugins.
        assert _shown(cell.outputs) == _shown(kept["outputs"])


def _shown(outputs):
    return [sorted(output["data"]) for output in outputs if "data" in output]
