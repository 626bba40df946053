"""The layout: imports point one way, and every module is one thing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_MAX_LINES = 250
# README's order: a room imports those above it.
_ROOMS = (
    *(
        "errors",
        "version",
        "config",
        "tokenizer",
        "distributed",
        "progress",
        "storage",
        "model",
    ),
    *("data", "lexical", "evaluation", "weights", "engine", "checkpoints", "workdir"),
    *("plan", "export", "inference", "training", "sweeps", "serve", "cli"),
)


def _modules() -> dict[str, Path]:
    found = {}
    for base in ("gpt2_jax", "experiments"):
        for path in (_ROOT / base).rglob("*.py"):
            name = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


_MODULES = _modules()


def _imports(name: str) -> Iterator[str]:
    """Yield the modules of ours that a module imports, in functions too."""
    for node in ast.walk(ast.parse(_MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in _MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in _MODULES:
                    yield full
                elif node.module in _MODULES:
                    yield node.module


_GRAPH = {name: set(_imports(name)) - {name} for name in _MODULES}


def _reachable(start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        for name in _GRAPH[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def test_no_module_imports_itself_by_way_of_others():
    lazily = {"gpt2_jax"}  # whose names are imported when they are asked for
    circles = {n for n in _MODULES if n in _reachable(n)} - lazily
    assert not {n for n in circles if "gpt2_jax" not in _GRAPH[n]}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_a_room_imports_only_those_above_it():
    for name, imported in _GRAPH.items():
        if not name.startswith("gpt2_jax.") or _room(name) == "__main__":
            continue
        for other in imported - {"gpt2_jax"}:
            above = _ROOMS.index(_room(other)) <= _ROOMS.index(_room(name))
            assert above, f"{name} imports {other}"


def test_what_predicts_imports_nothing_that_trains():
    for name in _MODULES:
        if name.startswith(("gpt2_jax.inference", "gpt2_jax.export", "gpt2_jax.serve")):
            assert not {n for n in _reachable(name) if _room(n) == "training"}, name


@pytest.mark.parametrize("name", sorted(_MODULES))
def test_a_module_is_short_enough_to_be_read_at_once(name):
    assert len(_MODULES[name].read_text("utf-8").splitlines()) <= _MAX_LINES


@pytest.mark.slow
def test_a_classifier_is_loaded_without_an_optimizer(tmp_path):
    from training_helpers import random_run

    run = random_run(tmp_path / "run")
    code = (
        "import sys; from gpt2_jax import Classifier; "
        f"Classifier.load({str(run)!r}).predict(['a']); "
        "assert not {'optax', 'orbax', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
