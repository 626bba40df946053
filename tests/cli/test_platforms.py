"""The compilers of accelerators that are not there disturb no command."""

from __future__ import annotations

import os

import pytest

from gpt2_jax.cli import platforms


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "")  # put back after the test


@pytest.mark.parametrize(
    ("plugins", "files", "expected"),
    [
        (["xla_cuda13"], [], "cpu"),
        (["xla_cuda12", "libtpu"], [], "cpu"),
        (["xla_cuda13", "libtpu"], ["nvidiactl"], ""),
        (["libtpu"], ["accel0"], ""),
        (["libtpu"], ["vfio/vfio"], "cpu"),  # of every Linux with virtual machines
        (["libtpu"], ["vfio/0"], ""),
        (["xla_rocm7"], ["kfd"], ""),
        (["xla_cuda13", "metal"], [], ""),  # another maker's, which may be there
        ([], [], ""),
    ],
)
def test_only_what_is_not_there_is_left_out(
    plugins, files, expected, unset, monkeypatch, tmp_path
):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(platforms, "_plugins", lambda: plugins)
    platforms.leave_out_absent(tmp_path)
    assert os.environ["JAX_PLATFORMS"] == expected


def test_what_the_user_names_stands(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    monkeypatch.setattr(platforms, "_plugins", lambda: ["libtpu"])
    platforms.leave_out_absent(tmp_path)
    assert os.environ["JAX_PLATFORMS"] == "tpu,cpu"
