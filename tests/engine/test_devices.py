"""What a run asks of its devices before it uses one."""

from __future__ import annotations

import os
import types

import pytest

from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.devices import (
    DETERMINISTIC,
    check_deterministic,
    make_deterministic,
)
from gpt2_jax.errors import DeviceError
from gpt2_jax.workdir.identity import FREE

_GPU, _CPU = (types.SimpleNamespace(platform=name) for name in ("gpu", "cpu"))


def test_a_gpu_that_may_add_in_any_order_is_refused(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_foo=1")
    check_deterministic(_CPU)  # always is
    with pytest.raises(DeviceError, match="before jax is imported"):
        check_deterministic(_GPU)
    make_deterministic()
    check_deterministic(_GPU)


def test_the_users_flags_stand_beside_it_and_it_is_given_once(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_foo=1")
    make_deterministic()
    make_deterministic()
    assert os.environ["XLA_FLAGS"] == f"--xla_foo=1 {DETERMINISTIC}"


def test_a_resumed_run_may_choose_it():
    assert not TrainConfig().deterministic
    assert "train.deterministic" in FREE
