"""Two trainers and one folder: FAULTS 13."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_helpers import finished_run, run_config

from gpt2_jax.cli.main import main
from gpt2_jax.config import to_dict
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.training.finetune import finetune
from gpt2_jax.workdir.lock import OWNER, workdir_lock

_HOLD = """
import sys, time
from pathlib import Path
from gpt2_jax.workdir.lock import workdir_lock
with workdir_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "run"."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.mark.fault(13)
def test_faults_13_a_second_trainer_is_told_who_is_there(
    holder, tmp_path, tmp_path_factory, capsys
):
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(run_config(tmp_path_factory))))
    argv = ["finetune", "--config", str(settings), "--workdir", str(tmp_path / "run")]
    for more in ([], ["--resume"], ["--resume", "auto"]):
        started = time.monotonic()
        assert main([*argv, *more]) == 5
        assert time.monotonic() - started < 10
        error = capsys.readouterr().err
        who = f"in use by pid {holder.pid} on host {socket.gethostname()} since 20"
        assert who in error and error.count("\n") == 1
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.fault(13)
@pytest.mark.slow
def test_faults_13_a_second_process_ends_at_once(holder, tmp_path):
    command = [sys.executable, "-m", "gpt2_jax", "finetune", "--no-compilation-cache"]
    started = time.monotonic()
    done = subprocess.run([*command, "--workdir", str(tmp_path / "run")], check=False)
    assert done.returncode == 5
    # Two seconds on a machine of its own; the holder would keep it for ever.
    assert time.monotonic() - started < 10


@pytest.mark.fault(13)
def test_faults_13_the_lock_of_a_dead_process_is_taken_over_with_a_notice(
    holder, tmp_path, caplog
):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / OWNER).exists()
    with caplog.at_level("INFO", "gpt2_jax"), workdir_lock(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / OWNER).read_text())
        assert owner["pid"] == os.getpid()
    assert f"taken over from pid {holder.pid} on host" in caplog.text
    assert "which is gone" in caplog.text


@pytest.mark.fault(13)
def test_faults_13_a_trainer_on_another_host_is_believed(tmp_path):
    """Its disk may know no locks between hosts."""
    owner = {"pid": 7, "host": "elsewhere", "since": "then"}
    (tmp_path / OWNER).write_text(json.dumps(owner))
    with (
        pytest.raises(WeightsError, match="pid 7 on host elsewhere since then; if "),
        workdir_lock(tmp_path),
    ):
        pass
    (tmp_path / OWNER).unlink()  # as it says
    with workdir_lock(tmp_path):
        pass


def test_a_folder_is_free_after_a_run_and_after_an_error(tmp_path, tmp_path_factory):
    run = finished_run(tmp_path_factory)
    assert not (run / OWNER).exists()
    with pytest.raises(UserError, match="match no parameter"):
        finetune(run_config(tmp_path_factory, trainable=("h_9.*",)), tmp_path / "run")
    assert not Path(tmp_path / "run").exists()
