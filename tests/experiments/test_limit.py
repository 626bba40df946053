"""Each phase of a run is timed, and what bounds it is counted."""

from __future__ import annotations

import pytest
from training_helpers import run_config

from experiments.benchmarks.limit import phases, render


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["last_block", "last_two_blocks", "all"])
def test_every_phase_is_timed_and_bounded(scope, tmp_path_factory):
    config = run_config(tmp_path_factory, epochs=1, trainable=(scope,))
    found = {phase.name.split(" (")[0]: phase for phase in phases(config)}
    assert ("trunk" in found) == (scope != "all")
    assert all(phase.seconds >= 0 for phase in found.values())
    assert found["a step"].flops > 0 and found["a step"].bytes > 0
    assert found["predict 32 texts"].flops > 8 * found["predict 1 texts"].flops > 0
    lines = [*render(iter(found.values()), 1e9, 1e9)]
    assert len(lines) == 2 + len(found) and len({x.count("|") for x in lines}) == 1
