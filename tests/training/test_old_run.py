"""Runs that commit 5402091 wrote: today's code reads them and goes on with them.

Expected values are of the processor and the JAX that computed them: compared to
rounding, which Adam carries on through the few steps that a stopped run has left.
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from training_helpers import shared_programs

from gpt2_jax.cli.main import main
from gpt2_jax.inference.classifier import Classifier

ARCHIVE = Path(__file__).parents[1] / "golden" / "old_run" / "runs.tar.xz"
RUNS = ("last_block", "lora")  # last_real, best of two epochs; mean over all tokens
# Their leaves differ more: a key's bias has no gradient (softmax does not see it), so
# Adam makes steps of rounding noise.
ATOL = 1e-4


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with shared_programs(tmp_path_factory.getbasetemp() / "programs"):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the runs were made in; their configs name files in it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*argv: str) -> None:
    assert main([*argv, "--no-compilation-cache"]) == 0


def _results(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def _predictions(run: Path) -> tuple[list[str], list[str], np.ndarray]:
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    probabilities = [[float(row["p_ham"]), float(row["p_spam"])] for row in rows]
    return (
        [row["text"] for row in rows],
        [row["predicted"] for row in rows],
        np.asarray(probabilities),
    )


def _leaves(run: Path) -> dict[str, np.ndarray]:
    leaves = safetensors.numpy.load_file(run / "model" / "params.safetensors")
    for name, leaf in leaves.items():
        if name.endswith("c_attn/bias"):
            width = leaf.shape[-1] // 3
            leaf[..., width : 2 * width] = 0.0  # keys; see ATOL
    return leaves


def _assert_same_run(there: Path, old: Path) -> None:
    """Compare params, probabilities and results, to rounding."""
    expected, found = _leaves(old), _leaves(there)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        assert found[name].dtype == leaf.dtype
        np.testing.assert_allclose(found[name], leaf, atol=ATOL, err_msg=name)
    texts, labels, probabilities = _predictions(old)
    assert _predictions(there)[:2] == (texts, labels)
    np.testing.assert_allclose(_predictions(there)[2], probabilities, atol=ATOL)
    before, after = _results(old), _results(there)
    assert not before.keys() - after.keys()
    for key in ("accuracy", "steps", "examples_seen", "params", "data", "weights"):
        told = after[key]
        if key == "data":  # newer versions tell more of it
            told = {name: told[name] for name in before[key]}
        assert told == before[key]
    lines = [_losses(run) for run in (old, there)]
    np.testing.assert_allclose(lines[1], lines[0], atol=ATOL)


def _losses(run: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_gives_the_probabilities_that_it_stored(name, folder):
    classifier = Classifier.load(folder / name)
    texts, labels, probabilities = _predictions(folder / name)
    assert classifier.labels == ("ham", "spam") and len(texts) > 10
    np.testing.assert_allclose(
        classifier.predict_proba(texts), probabilities, atol=2e-6
    )
    assert classifier.predict(texts) == labels


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_is_evaluated_on_its_own_test_part(name, folder, capsys):
    _run("evaluate", name)
    accuracy = _results(folder / name)["accuracy"]["test"]
    assert f"accuracy {100 * accuracy:.2f}% " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("form", ["hf", "stablehlo"])
def test_an_old_run_is_exported(form, folder, capsys):
    """It is read back and compared by the command itself."""
    _run("export", "last_block", "exported", "--format", form)
    assert "written: exported" in capsys.readouterr().out
    assert (folder / "exported").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_that_was_stopped_is_resumed_to_its_end(name, folder, capsys):
    stopped = folder / f"{name}_stopped"
    assert not (stopped / "results.json").exists() and len(_losses(stopped)) == 7
    _run(
        "finetune",
        "--config",
        f"{stopped.name}/config.json",
        "--workdir",
        stopped.name,
        "--resume",
    )
    assert "resumed at step 7 of 10" in capsys.readouterr().out
    _assert_same_run(stopped, folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_old_config_is_replayed(name, folder):
    _run("finetune", "--config", f"{name}/config.json", "--workdir", "again")
    _assert_same_run(folder / "again", folder / name)
    assert _results(folder / "again")["accuracy"]["train"] == 1.0  # it learned


def test_an_old_run_that_ended_is_complete(folder, capsys):
    before = (folder / "lora" / "results.json").read_bytes()
    _run("finetune", "--config", "lora/config.json", "--workdir", "lora", "--resume")
    assert "already complete: 10 of 10 steps" in capsys.readouterr().out
    assert (folder / "lora" / "results.json").read_bytes() == before
