"""Folders for what is not whole yet."""

from __future__ import annotations

import pytest

from gpt2_jax.storage.atomic import scratch


def test_a_folder_goes_with_its_process_or_with_the_next_one(tmp_path):
    target = tmp_path / "out"
    with scratch(target) as folder:
        (folder / "half").write_text("x")
        abandoned = folder.with_name(folder.name + "x")  # its process is gone
        abandoned.mkdir()
        (abandoned / "half").write_text("x")
        with scratch(target) as other:  # of another process
            assert (folder / "half").exists() and not abandoned.exists()
        assert not other.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_others_hide_beside_it_is_left_alone(tmp_path):
    theirs = tmp_path / ".out.backup"
    theirs.mkdir()
    with pytest.raises(ZeroDivisionError), scratch(tmp_path / "out"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == [theirs]
