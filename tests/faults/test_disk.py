"""Disks that are full, closed, or something else: FAULTS 11 and 12."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import crash_operations
import pytest
from training_helpers import run_config

from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.manifest import read_manifest
from gpt2_jax.cli.main import main
from gpt2_jax.config import to_dict
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.storage.disk import explain_disk_errors
from gpt2_jax.training import finetune as loop
from gpt2_jax.workdir.lock import workdir_lock

_SAVE = """
import resource, signal, sys
from pathlib import Path
import crash_operations as worker
from gpt2_jax.errors import WeightsError
from gpt2_jax.checkpoints.checkpoint import Checkpoints
with Checkpoints(Path(sys.argv[1]), worker.LABELS) as checkpoints:
    state = worker.advance(worker.first_state())
    checkpoints.save(state, {"step": 1}, 0.5)
    checkpoints.finish()
    if len(sys.argv) > 2:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    else:
        (Path(sys.argv[1]) / "ballast").write_bytes(bytes(700_000))
    checkpoints.save(worker.advance(state), {"step": 2}, 0.5)
    try:
        checkpoints.finish()
    except WeightsError as error:
        print(error)
"""


def _save_two(workdir: Path, *arguments: str) -> str:
    """Save step 1, fill the disk, and return what is said of step 2."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    tests = str(Path(crash_operations.__file__).parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        [tests, str(Path(tests).parent), environment.get("PYTHONPATH", "")]
    )
    command = [sys.executable, "-c", _SAVE, str(workdir), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _assert_only_step_1(workdir: Path, said: str) -> None:
    folder = workdir / "checkpoints"
    assert said.startswith(f"{folder / '2'}: not saved (")
    assert "bytes needed, " in said and "free)" in said and said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["1"]
    with Checkpoints(workdir, crash_operations.LABELS) as checkpoints:
        restored = checkpoints.restore(crash_operations.first_state(), best=False)
    assert restored is not None and restored[1] == {"step": 1}


@pytest.mark.slow
@pytest.mark.fault(11)
def test_faults_11_a_full_disk_leaves_the_step_before(tmp_path):
    _assert_only_step_1(tmp_path, _save_two(tmp_path, "4096"))


@contextlib.contextmanager
def _mounted(path: Path, *options: str) -> Iterator[None]:
    path.mkdir()
    command = ["mount", *options, str(path)]
    if not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip(f"{' '.join(command)} is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.fault(11)
def test_faults_11_a_small_file_system_leaves_the_step_before(tmp_path):
    disk = tmp_path / "disk"
    with _mounted(disk, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        said = _save_two(disk)
        (disk / "ballast").unlink()
        _assert_only_step_1(disk, said)


@pytest.mark.fault(11)
@pytest.mark.slow
def test_faults_11_a_run_on_a_full_disk_exits_with_5(tmp_path, tmp_path_factory):
    settings, workdir = tmp_path / "config.json", tmp_path / "run"
    config = run_config(tmp_path_factory, save_every=1)
    settings.write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-m", "gpt2_jax", "finetune", "--no-compilation-cache"]
    command += ["--config", str(settings), "--workdir", str(workdir)]

    limited = ["bash", "-c", 'ulimit -f 3; exec "$@"', "--", *command]  # of 1024 bytes
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    # tensorstore prints more, of each file that it could not write.
    ours = [x for x in done.stderr.splitlines() if x.startswith("gpt2-jax: error: ")]
    assert len(ours) == 1
    error = ours[0].removeprefix("gpt2-jax: error: ")
    assert error.startswith(f"{workdir / 'checkpoints' / '1'}: not saved (")
    assert "bytes needed, " in error and "free)" in error
    assert not (workdir / "results.json").exists()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(11)
def test_faults_11_a_full_disk_beside_the_checkpoints_is_named(tmp_path):
    error = OSError(28, "No space left on device", str(tmp_path / "metrics.jsonl"))
    with (
        pytest.raises(WeightsError, match=r"metrics\.jsonl: cannot be .*bytes free"),
        explain_disk_errors(tmp_path),
    ):
        raise error
    with pytest.raises(FileNotFoundError), explain_disk_errors(tmp_path):
        raise FileNotFoundError(2, "not a matter of space")


@pytest.mark.fault(11)
def test_faults_11_no_room_is_an_error_before_training(
    tmp_path, tmp_path_factory, monkeypatch
):
    usage = shutil._ntuple_diskusage(total=10**9, used=10**9 - 99_000, free=99_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(loop, "train", None)  # it is not come to
    with pytest.raises(WeightsError, match="bytes needed, 99,000 free"):
        loop.finetune(run_config(tmp_path_factory), tmp_path / "run")


@pytest.mark.fault(12)
def test_faults_12_a_read_only_folder_is_an_error_before_training(
    tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr(loop, "prepare", None)  # it is not come to
    disk = tmp_path / "disk"
    with _mounted(disk, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        for workdir in (disk, disk / "run"):
            with pytest.raises(UserError, match=r"disk.*: cannot be written \(Read-"):
                loop.finetune(run_config(tmp_path_factory), workdir)


@pytest.mark.fault(12)
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_faults_12_a_folder_without_permission_is_an_error(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with (
            pytest.raises(UserError, match="Permission denied"),
            workdir_lock(tmp_path),
        ):
            pass
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    ("name", "reason"),
    [("file", "File exists"), ("file/run", "Not a directory"), ("x" * 300, "too long")],
)
def test_faults_12_a_path_that_can_be_no_folder_exits_with_2(
    name, reason, tmp_path, tmp_path_factory, capsys
):
    (tmp_path / "file").write_text("")
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(run_config(tmp_path_factory))))
    argv = ["finetune", "--config", str(settings), "--no-compilation-cache"]
    assert main([*argv, "--workdir", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error and reason in error and error.count("\n") == 1


@pytest.mark.fault(12)
@pytest.mark.slow
def test_faults_12_odd_paths_are_good_ones(tmp_path, tmp_path_factory):
    config = run_config(tmp_path_factory, epochs=1)
    long = "/".join(["f" * 200] * 5)
    for name in ("with space", "Ünï-ćødé 数据 🙂", "%20#?&'\"", long):
        workdir = tmp_path / name / "run"
        loop.finetune(config, workdir)
        assert read_manifest(workdir / "checkpoints" / "5") is not None
        loop.finetune(config, workdir, resume=True)
