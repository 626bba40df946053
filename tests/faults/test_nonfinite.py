"""A run that diverges: FAULTS 19."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from training_helpers import losses, run_config

from gpt2_jax.checkpoints.manifest import read_manifest
from gpt2_jax.engine.resident import ResidentSteps
from gpt2_jax.errors import NonFiniteError
from gpt2_jax.training import loop
from gpt2_jax.training.finetune import finetune


def _spoil(patch: pytest.MonkeyPatch, at: int, *, loss: bool) -> None:
    """Make a leaf NaN after step `at`, and with `loss` the loss of it too."""
    train = ResidentSteps.train
    patch.setattr(loop, "MAX_STEPS", 1)

    def spoiled(self, state, rows, key, width):
        step = int(state.step) + 1
        state, values = train(self, state, rows, key, width)
        if step == at:
            kernel: Any = state.params["h_2"]["mlp"]["c_fc"]["kernel"]
            params = {**state.params, "h_2": {**state.params["h_2"]}}
            fc = {**params["h_2"]["mlp"]["c_fc"], "kernel": kernel.at[0, 0].set(np.nan)}
            params["h_2"]["mlp"] = {**params["h_2"]["mlp"], "c_fc": fc}
            state = state.replace(params=params)
            values = np.full_like(values, np.nan) if loss else values
        return state, values

    patch.setattr(ResidentSteps, "train", spoiled)


@pytest.mark.slow
@pytest.mark.fault(19)
def test_faults_19_a_diverged_run_stops_with_the_last_good_step(
    tmp_path, tmp_path_factory, monkeypatch
):
    config = run_config(tmp_path_factory, save_every=2, eval_every=100)
    with monkeypatch.context() as patch:
        _spoil(patch, 5, loss=True)
        with pytest.raises(NonFiniteError) as caught:
            finetune(config, tmp_path / "run")
    assert caught.value.exit_code == 5
    message = str(caught.value)
    assert message.startswith("step 5: the loss is nan; first leaf with NaN or infinit")
    assert "params/h_2/mlp/c_fc/kernel (1 values)" in message
    assert "the checkpoint of step 4 is kept" in message and "\n" not in message
    diagnostics = json.loads((tmp_path / "run" / "diagnostics.json").read_text())
    assert diagnostics["step"] == 5 and diagnostics["last_checkpoint"] == 4
    assert diagnostics["nonfinite_leaves"] == {"params/h_2/mlp/c_fc/kernel": 1}
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3, 4]
    assert read_manifest(tmp_path / "run" / "checkpoints" / "4") is not None


@pytest.mark.fault(19)
@pytest.mark.slow  # test_checkpoint.py saves a state like it
def test_faults_19_nan_behind_a_finite_loss_is_not_saved(
    tmp_path, tmp_path_factory, monkeypatch
):
    config = run_config(tmp_path_factory, save_every=1, eval_every=100, epochs=1)
    _spoil(monkeypatch, 3, loss=False)
    with pytest.raises(
        NonFiniteError, match=r"step 3: the validation loss is nan; .*c_fc/ker"
    ):
        finetune(config, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} <= {
        "1",
        "2",
    }


@pytest.mark.fault(19)
@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e30])
def test_faults_19_a_rate_that_is_far_too_high_is_named(
    rate, tmp_path, tmp_path_factory
):
    config = run_config(tmp_path_factory, learning_rate=rate)
    with pytest.raises(NonFiniteError, match=r"step \d+: .*a lower --learning-rate"):
        finetune(config, tmp_path / "run")
