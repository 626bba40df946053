"""What the package is made of, what it may call, and what it leaves behind."""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serve_helpers import StubClassifier, head, serving, tiny_trained
from training_helpers import finished_run

from gpt2_jax.config import ServeConfig
from gpt2_jax.export.pth_writer import write_pth
from gpt2_jax.inference.output import write_answers
from gpt2_jax.inference.rows import Row
from gpt2_jax.weights.trained import save_model
from gpt2_jax.workdir.lock import workdir_lock
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.predictions import write_predictions

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gpt2_jax"
# Not pickletools, which runs nothing, and of pickle the bytes of its opcodes: STOP.
_MODULES = {"cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
_MODULES |= {"yaml", "code", "codeop", "runpy", "subprocess", "pty", "ctypes"}
_NAMES = {"eval", "exec", "compile", "__import__"}
_CALLS = {"os.system", "os.popen", "os.execv", "os.spawnl", "tempfile.mktemp"}
_CALLS |= {"torch.load", "jnp.load"}
_LOADS = {"np.load", "numpy.load"}  # these must say that they unpickle nothing
_METHODS = {"extractall", "extract", "unpack_archive", "tofile", "dump_pickle"}


def _bans(source: str) -> Iterator[str]:
    """Yield what `source` has and must not have."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {name.name.split(".")[0] for name in node.names} & _MODULES
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node.value) == "pickle" and not node.attr.isupper():
                yield f"pickle.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            if node.module == "pickle":
                yield "from pickle"
            yield from {(node.module or "").split(".")[0]} & _MODULES
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in _LOADS and "allow_pickle" not in [k.arg for k in node.keywords]:
                yield name
            if name in _NAMES | _CALLS or name.split(".")[-1] in _METHODS:
                yield name
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and not (
                    isinstance(keyword.value, ast.Constant)
                    and keyword.value.value is False
                ):
                    yield f"{name}({keyword.arg}=...)"


@pytest.mark.fault(29, 30)
def test_the_package_runs_no_text_and_writes_no_pickle():
    found = [
        f"{path.relative_to(ROOT)}: {ban}"
        for path in PACKAGE.rglob("*.py")
        for ban in _bans(path.read_text("utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "pickle.dumps(x)",
        "from pickle import dumps",
        "eval('1')",
        "run(x, shell=True)",
        "np.load(x, allow_pickle=flag)",
        "archive.extractall()",
        "torch.load(x)",
    ],
)
def test_the_search_finds_what_it_is_for(source):
    assert list(_bans(source))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _write_all(folder: Path) -> None:
    """Write one of each kind of file that we write ourselves."""
    folder.mkdir()
    trained = tiny_trained()
    save_model(folder / "model", trained)
    MetricsLog(folder / "metrics.jsonl").write(step=1, loss=0.5)
    probabilities = np.eye(2, dtype=np.float32)
    write_predictions(
        folder / "p.csv", ["a", "b"], ["x", "y"], probabilities, ["x", "y"]
    )
    list(write_answers(folder / "answers", [[Row("a")]], lambda rows: ["{}"]))
    write_pth(folder / "x.pth", {"a": probabilities})
    with workdir_lock(folder / "held"):
        (folder / "owner").write_bytes((folder / "held" / ".owner.json").read_bytes())


@pytest.mark.fault(12)
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_files_have_the_modes_that_the_user_asked_for(umask, tmp_path):
    before = os.umask(umask)
    try:
        _write_all(tmp_path / "x")
    finally:
        os.umask(before)
    files = _files(tmp_path / "x")
    assert len(files) >= 7
    assert {_mode(path) for path in files} == {0o666 & ~umask}
    folders = [path for path in (tmp_path / "x").rglob("*") if path.is_dir()]
    assert {_mode(path) for path in folders} == {0o777 & ~umask}


@pytest.mark.slow  # it may be the first of its process that needs a run
@pytest.mark.fault(12, 29)
def test_no_file_of_a_run_is_a_pickle_or_can_be_written_by_others(tmp_path_factory):
    run = finished_run(tmp_path_factory)
    for path in _files(run):  # pickles of protocol 2 and newer begin so
        assert path.read_bytes()[:1] != b"\x80", path
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".joblib"), path
    for path in run.rglob("*"):
        mode = _mode(path)
        assert not mode & stat.S_IWOTH, path
        assert path.is_dir() or not mode & 0o111, path


@pytest.mark.fault(44)
def test_a_token_stands_in_no_log_no_answer_and_no_config(caplog, capfd):
    token = "s3cret-t0ken"
    caplog.set_level(logging.DEBUG)
    with serving(StubClassifier(), token=token) as service:
        for path in ("/", "/metrics", "/openapi.json", "/v1/classify", "/healthz"):
            given = f"Bearer {token}x"
            answer = service.send(head(path, method="GET", authorization=given))
            assert token.encode() not in answer
        given = f"Bearer {token}"
        answer = service.send(head("/metrics", method="GET", authorization=given))
        assert answer.startswith(b"HTTP/1.1 200") and token.encode() not in answer
        service.send(b"nonsense " + given.encode() + b"\r\n\r\n")
    assert token not in caplog.text + "".join(capfd.readouterr())
    assert token not in repr(ServeConfig(token=token))


def _locked() -> dict[str, int]:
    """Return how many hashes each package has in CI's lock."""
    text = (ROOT / ".ci" / "requirements.txt").read_text("utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text)
    return {
        entry.partition("==")[0].lower(): len(
            re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)
        )
        for entry in entries
    }


def test_every_dependency_of_ci_is_locked_with_its_hashes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    locked = _locked()
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["dev"]
    for extra in re.findall(r"\w+", extras["dev"][0].partition("[")[2]):
        wanted += extras[extra]
    names = {re.split(r"[^\w.-]", text)[0].lower() for text in wanted}
    assert names - {"gpt2-jax"} <= set(locked)
    assert all(locked.values())
    assert "--require-hashes" in (ROOT / ".ci" / "run").read_text("utf-8")


def _wheel(source: Path, out: Path) -> bytes:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d"]
    subprocess.run(
        [*command, str(out)],
        cwd=source,
        env=environment,
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return path.read_bytes()


@pytest.mark.slow
def test_a_wheel_is_the_same_to_the_bit(tmp_path):
    """Whoever builds it: other folder, times, modes and order of the files."""
    pytest.importorskip("hatchling", reason="hatchling is missing")
    names = ["gpt2_jax", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]
    digests = []
    for number, umask in enumerate([0o022, 0o077]):
        source = tmp_path / f"source{number}"
        source.mkdir()
        before = os.umask(umask)
        try:
            for name in names[:: 1 - 2 * number]:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(
                        ROOT / name,
                        source / name,
                        ignore=ignored,
                        copy_function=shutil.copyfile,
                    )
                else:
                    shutil.copyfile(ROOT / name, source / name)
            content = _wheel(source, tmp_path / f"wheel{number}")
        finally:
            os.umask(before)
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]
