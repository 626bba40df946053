"""Every fault has a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fault_table import FAULTS


def _marked(tree: ast.Module) -> Iterator[int]:
    """Yield the faults that the decorators of a file's tests name."""
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
            for decorator in function.decorator_list:
                if (
                    isinstance(decorator, ast.Call)
                    and ast.unparse(decorator.func) == "pytest.mark.fault"
                ):
                    yield from map(ast.literal_eval, decorator.args)


def test_every_fault_is_named_by_a_test_and_no_other_is():
    tests = Path(__file__).parents[1]
    trees = [ast.parse(path.read_bytes()) for path in tests.rglob("test_*.py")]
    assert {row for tree in trees for row in _marked(tree)} == set(FAULTS)
