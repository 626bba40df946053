"""What surrounds a command: streams, home folder, platform, current folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_helpers import error_line, random_run, run_config, write_texts

from gpt2_jax.cli.main import main
from gpt2_jax.config import DataConfig
from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.storage.download import cache_dir
from gpt2_jax.training.finetune import finetune
from gpt2_jax.workdir.paths import chosen_workdir, new_workdir

_TEXT = "🎉 é"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "environment_run"
    return folder if folder.is_dir() else random_run(folder)


def _gpt2_jax(
    *argv: str, before: str = "", shell: str = "", **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own; `before` runs there first."""
    code = f"import sys\n{before}\nfrom gpt2_jax.cli.main import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, *argv, "--no-compilation-cache"]
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **changes}
    return subprocess.run(command, capture_output=True, env=environment)


def _one_line(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    error = done.stderr.decode()
    assert done.returncode == code, error
    assert error.startswith("gpt2-jax: error: ") and error.count("\n") == 1, error
    return error


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_alone_gets_all_answers(run):
    done = _gpt2_jax("predict", str(run), _TEXT, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"\t\\U0001f389 \\xe9\n")


@pytest.mark.slow
def test_json_lines_are_utf_8_whatever_the_terminal_knows(run, tmp_path):
    given = tmp_path / "in"
    given.write_text(json.dumps({"text": "a", "id": _TEXT}))
    done = _gpt2_jax("predict", str(run), shell=f"< {given}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("utf-8"))["id"] == _TEXT
    assert _TEXT.encode() in done.stdout


@pytest.mark.slow
def test_a_run_whose_output_cannot_be_written_is_finished_all_the_same(
    tmp_path, tmp_path_factory
):
    config = run_config(tmp_path_factory, epochs=1)
    data = write_texts(tmp_path / "é🎉.csv", classes=("hé", "spam"))
    argv = ["finetune", "--weights", str(config.weights), "--data", str(data)]
    argv += ["--epochs", "1", "--workdir", str(tmp_path / "é")]
    done = _gpt2_jax(*argv, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert (
        b"\\xe9\\U0001f389.csv" in done.stdout and b"Logging error" not in done.stderr
    )
    again = _gpt2_jax(*argv, "--resume", shell=">&-")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_closed_streams_end_no_command_with_a_traceback(run):
    done = _gpt2_jax("predict", str(run), "a text", shell=">&-")
    assert (done.returncode, done.stderr) == (0, b"")
    done = _gpt2_jax("predict", str(run), shell="<&-")
    assert "standard input: empty" in _one_line(done, 4)
    done = _gpt2_jax("predict", str(run / "no"), "a", shell="2>&-")
    assert done.returncode == 5


def test_a_logger_of_python_prints_to_any_terminal(capfd):
    code = (
        "import logging\nfrom gpt2_jax.workdir.console import console\n"
        "with console(verbose=True):\n"
        f"    logging.getLogger('gpt2_jax.x').info({_TEXT!r})"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert capfd.readouterr() == ("\\U0001f389 \\xe9\n", "")


@pytest.mark.parametrize("name", ["nosuch", "cuda", "cpu,nosuch"])
def test_a_platform_that_is_not_there_is_one_line(run, name):
    if name == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("an NVIDIA GPU is here, so the platform cuda is too")
    done = _gpt2_jax("predict", str(run), "a text", JAX_PLATFORMS=name)
    if name == "cuda" and importlib.util.find_spec("jax_plugins") is not None:
        # jax says at length what a plugin that is there lacks; ours comes last
        assert done.returncode == 3
        assert b"gpt2-jax: error: JAX_PLATFORMS" in done.stderr.splitlines()[-1]
        return
    assert f"JAX_PLATFORMS={name}: " in _one_line(done, 3)


_HOMELESS = """
import os, pwd
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)
def getpwuid(uid): raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.mark.slow
def test_a_user_without_a_home_can_predict(run, tmp_path):
    code = f"{_HOMELESS}\nos.chdir({str(tmp_path)!r})\nsys.argv.pop()"
    done = _gpt2_jax("predict", str(run.absolute()), "a text", before=code)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert b"compiled programs are not kept: no home folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_cache_folder_is_never_one_named_after_a_tilde(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)
    with pytest.raises(DeviceError, match="set HOME or XDG_CACHE_HOME"):
        cache_dir()
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: "~/.cache/gpt2-jax")
    with pytest.raises(DeviceError, match="set HOME or XDG_CACHE_HOME"):
        cache_dir()


def test_a_tilde_is_the_home_folder(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen_workdir("~/x") == tmp_path / "x"
    assert chosen_workdir(Path("~/x")) == tmp_path / "x"
    assert chosen_workdir("gs://b/~/x") == "gs://b/~/x"
    shutil.copytree(run, tmp_path / "x")
    assert Classifier.load("~/x").labels == ("ham", "spam")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)
    with pytest.raises(DeviceError, match="set HOME"):
        chosen_workdir("~/x")


@pytest.mark.parametrize("name", ["", " "])
def test_a_workdir_without_a_name_is_refused(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="names no folder"):
        finetune(workdir=name)
    assert "names no folder" in error_line(capsys, ["finetune", "--workdir", name], 2)
    assert not list(tmp_path.iterdir())


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "run-1")
    folders = [new_workdir() for _ in range(3)]  # nothing is written into them yet
    assert [folder.name for folder in folders] == ["run-1", "run-1-2", "run-1-3"]
    for name in ("file", "link"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "file":
            Path("checkpoints").write_text("a file")
        else:
            Path("checkpoints").symlink_to("nowhere")
        with pytest.raises(UserError, match=r"checkpoints.*; choose a --workdir"):
            new_workdir()


@pytest.mark.slow
def test_a_run_is_evaluated_and_resumed_from_any_folder(
    tmp_path, tmp_path_factory, monkeypatch, capsys
):
    config = run_config(tmp_path_factory, epochs=1)
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    write_texts(there / "mail.csv")
    shutil.copytree(config.weights, there / "weights")
    argv = ["finetune", "--data", "mail.csv", "--weights", "weights", "--workdir", "r"]
    assert main([*argv, "--epochs", "1"]) == 0
    assert "data: mail.csv: 60 texts" in capsys.readouterr().out  # as it was given
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "there/r"]) == 0
    again = ["finetune", "--config", "there/r/config.json", "--workdir", "there/r"]
    assert main([*again, "--resume"]) == 0
    monkeypatch.chdir(there)
    assert main([*argv, "--epochs", "1", "--resume"]) == 0
    assert json.loads((there / "r" / "run.json").read_text())["changes"] == []
    assert json.loads((there / "r" / "results.json").read_text())["run"] == "r"
    (there / "mail.csv").rename(tmp_path / "moved.csv")
    error = error_line(capsys, ["evaluate", "r"], 4)
    assert f"{there / 'mail.csv'}: no such file" in error and "--data" in error
    assert main(["evaluate", "r", "--data", str(tmp_path / "moved.csv")]) == 0


def test_names_of_data_and_weights_stay_names(tmp_path):
    from gpt2_jax.config import FinetuneConfig
    from gpt2_jax.workdir.paths import absolute

    for source in ("demo", "sms-spam", "imdb", "-", "gs://bucket/a.csv"):
        config = FinetuneConfig(data=DataConfig(source=source), weights="124M")
        assert absolute(config) == config
    several = FinetuneConfig(data=DataConfig(source=("a.csv", "b/*.csv")))
    here = str(Path.cwd())
    assert absolute(several).data.source == (f"{here}/a.csv", f"{here}/b/*.csv")


def test_a_command_leaves_its_garbage_to_the_end_of_the_process():
    code = (
        "import atexit, gc\n"
        "from gpt2_jax.cli.main import main\n"
        "main(['runs', '/nowhere'])\n"
        "atexit._run_exitfuncs()\n"
        "assert gc.get_freeze_count() > len(gc.get_objects())\n"
        "assert gc.get_threshold()[0] == 100_000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
