"""Runs and data at URLs; fsspec's memory stands for a bucket."""

from __future__ import annotations

import importlib.util
import json
import signal

import fsspec
import pytest
from training_helpers import finished_run, run_config, shared_programs

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.engine.engine import Engine
from gpt2_jax.errors import DataError, DeviceError, UserError, WeightsError
from gpt2_jax.storage import bucket
from gpt2_jax.training.finetune import finetune
from gpt2_jax.workdir.signals import Interrupted


@pytest.fixture(autouse=True)
def memory():
    """An empty bucket."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def programs(tmp_path_factory):
    with shared_programs(tmp_path_factory.getbasetemp() / "programs"):
        yield


def files(system, root="/runs/spam"):
    return {path.removeprefix(root + "/") for path in system.find(root)}


@pytest.mark.slow
def test_a_run_in_a_bucket_goes_on_from_there_and_is_the_run_in_a_folder(
    memory, programs, tmp_path_factory, monkeypatch
):
    config, url = run_config(tmp_path_factory), "memory://runs/spam"
    logits, seen = Engine.logits, []

    def stop(self, params, rows):
        seen.append(rows)
        if len(seen) == 7:  # in an evaluation, after the first epoch
            self.poll.__self__.requested = signal.SIGTERM
        return logits(self, params, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "logits", stop)
        with pytest.raises(Interrupted, match="memory://runs/spam: go on with"):
            finetune(config, url)
    assert {"config.json", "run.json", "metrics.jsonl"} <= files(memory)
    assert "checkpoints/5/manifest.json" in files(memory)
    assert "results.json" not in files(memory)
    with pytest.raises(UserError, match="holds a run already"):
        finetune(config, url)

    finetune(config, url, resume=True)
    whole = finished_run(tmp_path_factory)
    params = "model/params.safetensors"
    assert memory.cat_file(f"/runs/spam/{params}") == (whole / params).read_bytes()
    here = {
        path.relative_to(whole).as_posix()
        for path in whole.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    steps = {name for name in here if name.startswith("checkpoints/")}
    assert here - steps == files(memory) - {
        name for name in files(memory) if name.startswith("checkpoints/")
    }
    assert not [name for name in files(memory) if ".partial" in name or "-tmp" in name]


def test_a_manifest_comes_last_and_goes_first(memory, tmp_path, monkeypatch):
    mirror = bucket.Mirror("memory://runs/spam", tmp_path)
    step = tmp_path / "checkpoints" / "5"
    (step / "d").mkdir(parents=True)
    for name in ("manifest.json", "_METADATA", "d/zz"):
        (step / name).write_text(name)
    done = []
    for action in ("put_file", "rm_file"):
        real = getattr(memory, action)

        def record(*names, real=real, action=action):
            done.append((action, names[-1].rpartition("/")[2]))
            return real(*names)

        monkeypatch.setattr(type(memory), action, staticmethod(record))
    mirror.push()
    assert {name for _, name in done} == {"manifest.json", "_METADATA", "zz"}
    assert done[-1] == ("put_file", "manifest.json")
    mirror.push()
    assert len(done) == 3  # nothing has changed
    for path in (step / "manifest.json", step / "_METADATA", step / "d" / "zz"):
        path.unlink()
    mirror.push()
    assert done[3] == ("rm_file", "manifest.json") and len(done) == 6
    assert not files(memory)


def test_what_a_process_keeps_to_itself_is_not_copied(memory, tmp_path):
    for name in (".lock", ".owner.json", "5.orbax-checkpoint-tmp", "kept"):
        (tmp_path / name).write_text("x")
    bucket.Mirror("memory://runs/spam", tmp_path).push()
    assert files(memory) == {"kept"}


def test_a_bucket_that_cannot_be_written_is_named(memory, tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError("denied")

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(type(memory), "put_file", refuse)
    with pytest.raises(WeightsError, match="memory://runs/spam: cannot be written"):
        bucket.Mirror("memory://runs/spam", tmp_path).push()


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_texts_are_read_from_a_url(memory, tmp_path, scheme):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(8)]
    content = "\n".join(map(json.dumps, rows)).encode()
    path = tmp_path / "texts.jsonl" if scheme == "file" else "/texts.jsonl"
    fsspec.filesystem(scheme).pipe_file(str(path), content)
    dataset = load_dataset(DataConfig(source=f"{scheme}://{path}"))
    assert dataset.texts == tuple(row["text"] for row in rows)
    with pytest.raises(DataError, match="--offline forbids"):
        load_dataset(DataConfig(source=f"{scheme}://{path}"), offline=True)


def test_a_url_that_is_not_there_or_of_no_kind_is_said(memory):
    with pytest.raises(DataError, match=r"memory://none\.csv: cannot be read"):
        load_dataset(DataConfig(source="memory://none.csv"))
    with pytest.raises(UserError, match="nosuch"):
        load_dataset(DataConfig(source="nosuch://none.csv"))


@pytest.mark.skipif(
    importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed"
)
def test_without_gcsfs_the_extra_is_named(capsys):
    with pytest.raises(DeviceError, match=r"pip install 'gpt2-jax\[gcs\]'"):
        bucket.open_url("gs://bucket/run")
    assert main(["finetune", "--workdir", "gs://bucket/run"]) == 3
    assert "gs://bucket/run: needs 'gpt2-jax[gcs]'" in capsys.readouterr().err
