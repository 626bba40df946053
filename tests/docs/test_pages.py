"""The pages of Python for newcomers: short enough, and every block runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_helpers import weights

_ROOT = Path(__file__).parents[2]
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_TASKS = (
    "Fine-tune a DataFrame",
    "Three classes",
    "A metric of your own",
    "Plot the loss",
    "Five seeds",
    "Embed texts",
    "Serve it",
    "Export it",
    "Restore a checkpoint with plain orbax",
    "Add a pool",
)
_MOST_LINES = 40


def _sections(page: str) -> dict[str, str]:
    text = (_ROOT / "docs" / f"{page}.md").read_text("utf-8")
    return dict(_SECTION.findall(text))


def test_the_ten_tasks_are_there_and_short():
    sections = _sections("tasks")
    assert tuple(sections) == _TASKS
    for title, text in sections.items():
        assert _BLOCK.search(text), title
        assert len(text.splitlines()) <= _MOST_LINES, title


def test_a_tracker_in_ten_lines_fits():
    _, code = _BLOCK.findall(_sections("recipes")["A tracker: MLflow"])[0]
    body = code[code.index("    def on_start") : code.index("data = ")]
    lines = [line for line in body.splitlines() if line.strip()]
    assert len(lines) <= 10


# In the place of the shipped weights stand tiny ones, for their time; where MLflow is
# not installed, something writes down what it is told.
_PRELUDE = """
import importlib.util, pathlib, sys, types
import matplotlib
matplotlib.use("agg")
import gpt2_jax.weights.pretrained as pretrained
read = pretrained._read
def _read(name, *rest, **named):
    given = pathlib.Path({weights!r}) if str(name) == "mini" else name
    return read(given, *rest, **named)
pretrained._read = _read
pretrained._read_mini = lambda dtype: _read("mini", None, None, dtype, offline=True)
told = []
if importlib.util.find_spec("mlflow") is None:
    module = types.ModuleType("mlflow")
    for name in ("start_run", "log_metric", "log_metrics", "end_run"):
        setattr(module, name, lambda *a, _n=name, **k: told.append((_n, a, k)))
    sys.modules["mlflow"] = module
"""

_AFTER = """
if told:
    names = [name for name, *_ in told]
    assert names[0] == "start_run" and told[-1][1] == ("FINISHED",)
    assert {"log_metric", "log_metrics"} < set(names)
"""

_COMMAND = """#!{python}
import sys
{prelude}
from gpt2_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def place(tmp_path, tmp_path_factory) -> tuple[Path, dict[str, str], str]:
    """A folder with a CSV and a copy of the package; an environment; the prelude."""
    prelude = _PRELUDE.replace("{weights!r}", repr(str(weights(tmp_path_factory))))
    program = tmp_path / "bin" / "gpt2-jax"
    program.parent.mkdir()
    program.write_text(_COMMAND.format(python=sys.executable, prelude=prelude))
    program.chmod(0o755)
    shutil.copytree(
        _ROOT / "gpt2_jax",
        tmp_path / "gpt2_jax",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    kinds = ("question", "complaint", "thanks")
    rows = [f'"hello {i}, it is a {kinds[i % 3]}",{kinds[i % 3]}' for i in range(90)]
    (tmp_path / "mail.csv").write_text("\n".join(["body,kind", *rows]) + "\n")
    here = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(
            [str(tmp_path), os.environ.get("PYTHONPATH", "")]
        ),
        "JAX_PLATFORMS": "cpu",
    }
    return tmp_path, {**os.environ, **here}, prelude


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    with (folder / "output.txt").open(
        "w"
    ) as file:  # no pipe, which a service would hold
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    said = (folder / "output.txt").read_text()
    assert done.returncode == 0, f"{command[-1]}\n{said}"


@pytest.mark.slow
def test_the_blocks_of_a_page_run_from_top_to_bottom(place):
    """Both pages: the second one uses what the first one has trained."""
    pytest.importorskip("pandas")
    folder, environment, prelude = place
    python = [prelude]
    for language, code in [
        block
        for page in ("tasks", "recipes")
        for text in _sections(page).values()
        for block in _BLOCK.findall(text)
    ]:
        if language == "python":  # each with names of its own, as a reader pastes it
            python.append(f"exec({code!r}, {{}})")
            python += [_AFTER] * ("mlflow" in code)
            continue
        _run([sys.executable, "-c", "\n".join(python)], folder, environment)
        python = [prelude]
        if language == "diff":
            (folder / "pool.diff").write_text(code)
            _run(["git", "apply", "pool.diff"], folder, environment)
        else:
            _run(["bash", "-e", "-c", code], folder, environment)
    _run([sys.executable, "-c", "\n".join(python)], folder, environment)
