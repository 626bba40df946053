"""What the documents tell the reader to run is run, or says why not."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_helpers import weights

from gpt2_jax.cli.main import build_parser

_ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(?:<!-- not run: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
# The README's blocks name no language; these hold no command, or one that is not run.
_README_NOT_RUN = {
    "make run": "it sets up an environment of its own; .ci/run does so",
    "accuracy: train": "output",
    "pip install '.[report]'": "it installs the package that is tested",
    "gpt2_jax/\n": "a picture of the folders",
}


@dataclasses.dataclass(frozen=True)
class _Block:
    language: str  # bash, console, python, or nothing
    content: str
    reason: str | None  # why it is not run

    @property
    def commands(self) -> list[str]:
        """The lines that a reader types."""
        lines = self.content.splitlines()
        if self.language == "console":
            return [line[2:] for line in lines if line.startswith("$ ")]
        return lines if self.language == "bash" else []


def _blocks(path: Path) -> list[_Block]:
    blocks = [
        _Block(language, content, reason or None)
        for reason, language, content in _FENCE.findall(path.read_text("utf-8"))
    ]
    if path.name == "README.md":
        return [_readme_block(block) for block in blocks]
    return blocks


def _readme_block(block: _Block) -> _Block:
    for start, reason in _README_NOT_RUN.items():
        if block.content.startswith(start):
            return dataclasses.replace(block, language="bash", reason=reason)
    return block


_PAGES = sorted((_ROOT / "docs").glob("*.md"))
_GUIDES = [path for path in _PAGES if path.name != "api.md"]


def _commands() -> Iterator[tuple[str, str]]:
    for path in [*_GUIDES, _ROOT / "README.md"]:
        for block in _blocks(path):
            yield from ((path.name, line) for line in block.commands)


def test_every_guide_is_found_and_every_block_is_run_or_says_why_not():
    names = {path.stem for path in _GUIDES}
    assert {"quickstart", "own-data", "from-the-book", "cloud-tpu", "faq"} <= names
    left_out = 0
    for path in _GUIDES:
        for block in _blocks(path):
            left_out += block.reason is not None
            if not block.commands and block.language != "python":
                assert not re.search(r"^(\$|gpt2-jax|pip|make)\b", block.content, re.M)
    # installs, serves twice, a container, downloads, a TPU, its compiler, hosts, the
    # book, all layers, an upload, a viewer, and names for what the reader has
    assert left_out == 20
    readme = _blocks(_ROOT / "README.md")
    assert sum(block.reason is not None for block in readme) == len(_README_NOT_RUN)
    for block in readme:
        assert block.reason or block.language == "python", block.content


def test_every_command_in_the_documents_is_one_of_ours_and_parses():
    parser, seen = build_parser(), 0
    for name, line in _commands():
        if re.search(r"(^| )gpt2-jax ", line):
            words = shlex.split(line, comments=True)
            after = words[words.index("gpt2-jax") + 1 :]
            ends = [i for i, word in enumerate(after) if word in ("<", ">", "|", "&")]
            after = after[: min(ends, default=None)]
            after = [re.sub(r"^\{(\w+),.*", r"\1", word) for word in after]
            # the pool that docs/tasks.md adds
            after = [word.replace("first_mean", "last_mean") for word in after]
            try:
                parser.parse_args(after)
            except SystemExit:
                pytest.fail(f"{name}: {line}")
            seen += 1
    assert seen > 25


_PROGRAM = """#!{python}
import sys
from gpt2_jax.cli.main import main
argv = sys.argv[1:]
if argv[0] in ("finetune", "adapt", "sweep", "cv"):  # a tiny model, briefly
    argv += ["--weights", "{weights}", "--epochs", "1"]
    argv = [a.replace("h_11", "h_2") for a in argv]
sys.exit(main(argv))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """An environment in which `gpt2-jax` trains a tiny model for one epoch."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "gpt2-jax"
    model = weights(tmp_path_factory)
    program.write_text(_PROGRAM.format(python=sys.executable, weights=model))
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    here = {"PATH": path, "PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **here, "TINY_WEIGHTS": str(model)}


def _write_inputs(folder: Path) -> None:
    kinds = ("question", "complaint", "thanks")
    rows = [f'"hello {i}, it is a {kinds[i % 3]}",{kinds[i % 3]}' for i in range(90)]
    (folder / "mail.csv").write_text("\n".join(["body,kind", *rows]) + "\n")
    (folder / "in.jsonl").write_text('{"text": "a", "id": 1}\n{"text": "b"}\n')


# tests/docs/test_pages.py runs these, each in one process.
_PAGES_OF_PYTHON = ("tasks", "recipes")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in _GUIDES if path.stem not in _PAGES_OF_PYTHON],
    ids=lambda path: path.stem,
)
def test_the_commands_of_a_guide_run_from_top_to_bottom(path, environment, tmp_path):
    _write_inputs(tmp_path)
    for block in _blocks(path):
        if block.reason is not None:
            continue
        if block.language == "python":
            command = [sys.executable, "-c", block.content]
        else:
            command = ["bash", "-e", "-c", "\n".join(block.commands)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block.content}\n{done.stderr}"


@pytest.mark.slow
def test_the_readmes_own_texts_can_be_trained_on(environment, tmp_path):
    _write_inputs(tmp_path)
    block = next(b for b in _blocks(_ROOT / "README.md") if "mail.csv" in b.content)
    lines = [line for line in block.commands if line.startswith("gpt2-jax")]
    assert len(lines) == 3
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_readmes_python_runs_as_it_is_printed(environment, tmp_path):
    """Only the weights of the first block are tiny ones, for their time."""
    _write_inputs(tmp_path)
    blocks = [b for b in _blocks(_ROOT / "README.md") if b.language == "python"]
    own, heart = (block.content for block in blocks)
    tiny = own.replace("FinetuneConfig(data", "FinetuneConfig(weights=W, data")
    assert tiny != own
    shown = ""
    for code in (f"W = {environment['TINY_WEIGHTS']!r}\n{tiny}", heart):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout
    assert float(shown) < 0.7  # ten steps have begun to learn two texts


def test_who_cites_it_names_the_version_that_it_has():
    from gpt2_jax import __version__

    citation = (_ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in citation


def _make_api():
    spec = importlib.util.spec_from_file_location(
        "make_api", _ROOT / "docs" / "make_api.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_reference_is_what_the_docstrings_say():
    made = _make_api().reference()
    kept = (_ROOT / "docs" / "api.md").read_text("utf-8")
    assert made == kept, "run: python docs/make_api.py > docs/api.md"


def test_every_public_name_says_what_it_does_in_a_sentence():
    import gpt2_jax

    make_api = _make_api()
    found = dict(make_api.entries())
    assert {f"gpt2_jax.{name}" for name in gpt2_jax.__all__} <= set(found)
    for name, value in found.items():
        first, _, rest = (value.__doc__ or "").strip().partition("\n")
        paragraph = f"{first}\n{rest}".split("\n\n")[0]
        assert paragraph.rstrip().endswith((".", ":")), name
        assert first[:1].isupper() or first[:1] == "`", name
        assert first.endswith((".", ":")), f"{name}: one line first"
