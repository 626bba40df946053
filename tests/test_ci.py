"""CI on a newer Python says aloud what it leaves out, and fails for tests alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SCRIPT = Path(__file__).parents[1] / ".ci" / "newest"
_TOO_OLD = "#!/bin/sh\nexit 1\n"
_NEW = "#!/bin/sh\nexit 0\n"


def _run(folder: Path, pyenv: Path, **programs: str) -> subprocess.CompletedProcess:
    """Run a copy of the script where nothing but `programs` can be found."""
    (folder / ".ci").mkdir()
    shutil.copy(_SCRIPT, folder / ".ci")
    (folder / "bin").mkdir()
    for name in ("dirname", "rm", "timeout"):
        found = shutil.which(name)
        assert found is not None
        (folder / "bin" / name).symlink_to(found)
    for name, content in programs.items():
        program = folder / "bin" / name.replace("_", ".")
        program.write_text(content)
        program.chmod(0o755)
    return subprocess.run(
        [shutil.which("bash") or "bash", ".ci/newest"],
        cwd=folder,
        env={
            "PATH": str(folder / "bin"),
            "PYENV_ROOT": str(pyenv),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_newer_python_it_is_skipped_aloud(tmp_path):
    """A shim of pyenv for a Python that is not chosen is none."""
    done = _run(tmp_path, tmp_path / "none", python3_13=_TOO_OLD, make=_TOO_OLD)
    assert done.returncode == 0, done.stderr
    assert "SKIPPED" in done.stdout and "no python3.13 or python3.12" in done.stdout


def test_an_index_that_gives_nothing_is_told_and_no_failure(tmp_path):
    folder = tmp_path / "pyenv" / "versions" / "3.13.0" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(_NEW)
    (folder / "python").chmod(0o755)
    silent = "#!/bin/sh\necho 'no index' >&2\nexit 1\n"
    done = _run(tmp_path, tmp_path / "pyenv", make=silent)
    assert done.returncode == 0, done.stderr
    assert f"pip could not install '.[dev]' with {folder}/python" in done.stdout
    assert "no index" in done.stderr


def test_a_test_that_fails_fails(tmp_path):
    make = """#!/bin/sh
[ "$1" = test ] && exit 2
/bin/mkdir -p build/newest/bin
printf '#!/bin/sh\n' > build/newest/bin/python
/bin/chmod +x build/newest/bin/python
"""
    done = _run(tmp_path, tmp_path / "none", python3_12=_NEW, make=make)
    assert done.returncode == 2
    assert "SKIPPED" not in done.stdout
