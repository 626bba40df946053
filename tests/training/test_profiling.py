"""`--profile`: a trace with the steps and the phases of a run."""

from __future__ import annotations

import jax
import pytest
from training_helpers import error_line, finished_run, losses, run_config

from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.training.finetune import finetune


def _events(run):
    """Return the names of the host's events, and the numbers of the steps."""
    (file,) = (run / "profile").rglob("*.xplane.pb")
    found = jax.profiler.ProfileData.from_file(str(file))
    names, steps = set(), []
    for plane in found.planes:
        for line in plane.lines:
            for event in line.events:
                names.add(event.name)
                if event.name == "train":
                    steps.append(dict(event.stats)["step_num"])
    return names, sorted(steps)


@pytest.mark.slow
def test_a_trace_names_steps_and_phases_and_changes_nothing(
    tmp_path_factory, tmp_path, caplog
):
    run = tmp_path / "run"
    with caplog.at_level("INFO", "gpt2_jax"):
        finetune(run_config(tmp_path_factory), run, profile=5)
    names, steps = _events(run)
    assert steps == [2, 3, 4, 5, 6]  # the first was compiled
    assert {"evaluate", "validate", "save"} <= names  # after the steps 4 and 5
    assert f"the trace is in {run / 'profile'}" in caplog.text
    assert losses(run) == losses(finished_run(tmp_path_factory))


@pytest.mark.slow
def test_a_trace_ends_with_the_run(tmp_path_factory, tmp_path, caplog):
    run = tmp_path / "run"
    finetune(run_config(tmp_path_factory, epochs=1), run, profile=50)
    assert _events(run)[1] == [2, 3, 4, 5]
    assert "the run ended 46 steps sooner" in caplog.text
    jax.profiler.start_trace(tmp_path / "other")  # the first one is over
    jax.profiler.stop_trace()


def test_a_finished_run_has_no_step_to_trace(tmp_path_factory, capsys):
    run = finished_run(tmp_path_factory)
    with pytest.raises(UserError, match="taken 10 of 10 steps"):
        finetune(run_config(tmp_path_factory), run, resume=True, profile=1)
    line = error_line(capsys, ["finetune", "--profile", "-1"], 2)
    assert "--profile -1" in line


@pytest.mark.slow
def test_two_traces_of_a_process_are_refused(tmp_path_factory, tmp_path):
    jax.profiler.start_trace(tmp_path / "other")
    try:
        with pytest.raises(DeviceError, match="jax cannot trace this process"):
            finetune(run_config(tmp_path_factory), tmp_path / "run", profile=1)
    finally:
        jax.profiler.stop_trace()
