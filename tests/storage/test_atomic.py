"""Files and folders are there whole, or as they were."""

from __future__ import annotations

import pytest

from gpt2_jax.errors import UserError
from gpt2_jax.storage.atomic import (
    creating,
    leftovers,
    replacing,
    write_json,
    write_text,
)


def test_a_folder_goes_with_its_process_or_with_the_next_one(tmp_path):
    target = tmp_path / "out"
    with replacing(target) as path:
        path.mkdir()
        folder = path.parent
        abandoned = folder.with_name(folder.name + "x")  # its process is gone
        abandoned.mkdir()
        (abandoned / "half").write_text("x")
        assert {*leftovers(tmp_path)} == {folder, abandoned}
        with pytest.raises(ZeroDivisionError), replacing(target):  # another process
            assert path.exists() and not abandoned.exists()
            _ = 1 / 0
    assert list(tmp_path.iterdir()) == [target]


def test_what_others_hide_beside_it_is_left_alone(tmp_path):
    theirs = tmp_path / ".out.backup"
    theirs.mkdir()
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "out"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == [theirs]
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("write", [write_text, None])
def test_a_failure_leaves_the_old_content(tmp_path, write):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        if write is not None:
            write(path, "\ud800")
        else:
            with replacing(path) as new:
                new.write_text("{", "utf-8")
                new.write_text("\ud800", "utf-8")
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr("os.fsync", lambda number: done.append("sync"))
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: done.append("name"))
    with replacing(tmp_path / "folder") as path:
        (path / "in").mkdir(parents=True)
        for name in ("a", "in/b"):
            (path / name).write_text(name)
    assert done == ["sync", "sync", "name"]


def test_what_is_created_replaces_nothing(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(UserError, match="is there already"), creating(path) as new:
        new.write_text("new")
        path.write_text("old")  # by another process
    with pytest.raises(UserError, match="is there already"), creating(path):
        raise AssertionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
