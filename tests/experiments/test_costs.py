"""No program of a run costs more than it did, nor is there one more of them."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from experiments.benchmarks import costs

STORED = json.loads(Path(costs.__file__).with_suffix(".json").read_text())

pytestmark = [
    pytest.mark.slow,  # they are compiled as users have them
    pytest.mark.skipif(
        metadata.version("jaxlib") != STORED["jaxlib"], reason="figures of another one"
    ),
    pytest.mark.skipif(
        "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ, reason="other programs"
    ),
]


def test_no_program_costs_more():
    found = dict(costs.program_costs())
    assert found.keys() == STORED["programs"].keys()
    # XLA's choices may differ a little between processors.
    risen = {
        (name, kind): (value, STORED["programs"][name][kind])
        for name, each in found.items()
        for kind, value in each.items()
        if value > STORED["programs"][name][kind] * 1.02 + 0.5
    }
    assert not risen, "found, and stored before: see experiments/benchmarks/costs.py"


def test_a_run_compiles_and_calls_no_more():
    found = costs.run_costs()
    assert found.keys() == STORED["run"].keys()
    assert all(found[name] <= STORED["run"][name] for name in found), found
