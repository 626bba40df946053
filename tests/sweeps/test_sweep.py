"""A sweep: its runs are those of finetune, and what they share is made once."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from training_helpers import compilations, run_config, shared_programs

from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.engine import texts
from gpt2_jax.engine.packing import Pack
from gpt2_jax.errors import NonFiniteError, UserError
from gpt2_jax.storage import bucket
from gpt2_jax.sweeps import finished as sweep_finished
from gpt2_jax.sweeps import run as sweep_run
from gpt2_jax.sweeps.sweep import sweep
from gpt2_jax.training.finetune import finetune
from gpt2_jax.workdir.metrics_log import MEASURED
from gpt2_jax.workdir.signals import Interrupted

pytestmark = pytest.mark.slow  # runs, trained and compiled

SEEDS = SweepConfig(seeds="0-1", grid=("train.learning_rate=1e-2,3e-3",))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return dataclasses.replace(
        run_config(tmp_path_factory, epochs=1, keep="last"), lexical=True
    )


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "runs"
    with compilations() as counts:
        return sweep(config, SEEDS, folder), folder, counts


def test_what_runs_share_is_made_once(swept):
    found, _, counts = swept
    assert len(found.finished) == 4
    once = ("texts", "tokens", "weights", "trunk", "linear models", "compiled steps")
    assert {kind: found.made[kind] for kind in once} == dict.fromkeys(once, 1)
    # Seed and rate are inputs of a program.
    assert counts["train_steps"] == counts["_rates"] == 1
    assert found.programs == sum(counts.values())


def test_a_member_is_the_run_of_finetune_to_the_bit(swept, config, tmp_path):
    member = swept[0].finished[-1]
    alone = finetune(member.member.config, tmp_path / "alone", verbose=False)
    for name in ("predictions.csv", "validation_predictions.csv", "metrics.jsonl"):
        ours, theirs = (
            _lines(folder / name) for folder in (member.folder, tmp_path / "alone")
        )
        assert ours == theirs, name
    told = (
        "accuracy",
        "accuracy_before",
        "calibration",
        "baselines",
        "lexical",
        "test",
    )
    for key in told:
        assert member.results[key] == alone[key], key
    for file in sorted((tmp_path / "alone" / "model").glob("*.safetensors")):
        same = (member.folder / "model" / file.name).read_bytes()
        assert same == file.read_bytes(), file.name


def _lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    if path.suffix != ".jsonl":
        return lines
    values = [json.loads(line) for line in lines]
    return [
        json.dumps({k: v for k, v in each.items() if k not in MEASURED})
        for each in values
    ]


def test_the_files_hold_every_run_and_every_setting(swept):
    found, folder, _ = swept
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [each.member.name for each in found.finished]
    for row, each in zip(rows, found.finished, strict=True):
        assert float(row["test"]) == pytest.approx(
            100 * each.results.accuracy["test"], rel=1e-5
        )
    values = json.loads((folder / "sweep.json").read_text())
    assert values["best"] in {setting["name"] for setting in values["settings"]}
    shares = [setting["share_best_on_validation"] for setting in values["settings"]]
    assert sum(shares) == pytest.approx(1)
    table = (folder / "table.md").read_text()
    assert "only 2 runs" in table and "Best on validation" in table
    page = (folder / "report.html").read_text()
    assert "<svg" in page and "<script" not in page


def test_finished_members_are_read_and_tables_are_the_same(swept, config, tmp_path):
    _, folder, _ = swept
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    names = ("table.md", "sweep.json", "results.csv")
    before = {name: (again / name).read_bytes() for name in names}
    for name in names:
        (again / name).unlink()
    repeated = sweep(config, SEEDS, again)
    assert not repeated.made and repeated.programs == 0
    assert {name: (again / name).read_bytes() for name in names} == before


def test_another_config_in_the_folder_is_refused(swept, config, tmp_path):
    _, folder, _ = swept
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    other = dataclasses.replace(config, pool="mean")
    with pytest.raises(UserError, match="holds a run of another config"):
        sweep(other, SEEDS, again)


def test_the_best_is_chosen_on_validation_alone(swept, tmp_path, monkeypatch):
    """Where the test part says something else, nothing changes."""
    found, _, _ = swept
    best = sweep_finished.best_of(found.finished)
    turned = [
        dataclasses.replace(
            each,
            results=dataclasses.replace(
                each.results,
                accuracy={**each.results.accuracy, "test": float(each is not best)},
            ),
        )
        for each in found.finished
    ]
    assert sweep_finished.best_of(turned).member == best.member


@pytest.mark.slow
def test_a_bucket_holds_what_a_folder_does(swept, config, tmp_path):
    _, folder, _ = swept
    again, url = tmp_path / "again", "memory://sweeps/rates"
    shutil.copytree(folder, again)
    (again / "table.md").unlink()
    bucket.Mirror(url, again).push()
    found = sweep(config, SEEDS, url)
    assert not found.made and found.place == url
    system, root = bucket.open_url(url)
    assert system.cat_file(f"{root}/table.md") == (folder / "table.md").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "left"), [("best", 1), ("none", 0)])
def test_models_that_are_not_kept_are_removed(swept, config, tmp_path, keep, left):
    _, folder, _ = swept
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    runs = dataclasses.replace(SEEDS, keep_models=keep)
    found = sweep(config, runs, again)
    models = list(again.glob("*/model"))
    assert len(models) == len(list(again.glob("*/checkpoints"))) == left
    if left:
        assert models[0].parent == sweep_finished.best_of(found.finished).folder


@pytest.mark.slow
def test_a_member_that_diverges_is_left_out_in_words(
    swept, config, tmp_path, monkeypatch
):
    def diverge(*_, **__):
        raise NonFiniteError("the loss of step 3 is NaN")

    _, folder, _ = swept
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    more = dataclasses.replace(SEEDS, seeds="0-2")
    monkeypatch.setattr(sweep_run, "finetune", diverge)
    found = sweep(config, more, again)
    assert len(found.finished) == 4 and len(found.diverged) == 2
    with pytest.raises(UserError, match="no run has finished: "):
        sweep(config, more, tmp_path / "new")


@pytest.mark.slow
def test_the_time_is_over_within_a_run(swept, config, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise Interrupted(15, "stopped at step 1; go on with: gpt2-jax finetune")

    _, folder, _ = swept
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    monkeypatch.setattr(sweep_run, "finetune", stop)
    more = dataclasses.replace(SEEDS, seeds="0-2")
    with pytest.raises(
        Interrupted, match="4 of 6 runs are finished; the same"
    ) as error:
        sweep(config, more, again)
    assert error.value.exit_code == 143


@pytest.mark.slow
def test_trunks_of_several_scopes_are_run_once_each(config, tmp_path):
    runs = SweepConfig(
        seeds="0-1", grid=("train.trainable=head,last_block", "train.epochs=1,2")
    )
    with shared_programs(tmp_path / "programs"):
        found = sweep(config, runs, tmp_path / "runs")
    assert found.made["trunk"] == 2 and found.made["texts"] == 1
    assert np.isfinite([e.results.accuracy["test"] for e in found.finished]).all()


@pytest.mark.slow
def test_the_shapes_that_steps_are_packed_in_run_no_trunk_again(
    config, tmp_path, monkeypatch
):
    """More epochs are worth more shapes; the trunk's outputs are the same."""

    def choose(lengths, widths, num_steps):
        return (Pack(lengths.shape[1] + num_steps, widths[-1]),)

    monkeypatch.setattr(texts, "choose_packs", choose)
    train = dataclasses.replace(config.train, trainable=("last_two_blocks",))
    two = dataclasses.replace(config, train=train)
    runs = SweepConfig(seeds="0", grid=("train.epochs=1,2",))
    with shared_programs(tmp_path / "programs"):
        found = sweep(two, runs, tmp_path / "runs")
    assert found.made["trunk"] == 1 and found.made["compiled steps"] == 2


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_with_the_table_of_the_whole_one(config, tmp_path):
    from experiments.benchmarks.sweep_kills import kill_sweep, run_sweep, tables

    flags = ["--data", str(config.data.source), "--weights", str(config.weights)]
    flags += ["--epochs", "2", "--seeds", "0-3", "--keep-models", "best"]
    started = time.perf_counter()
    run_sweep(flags, tmp_path / "whole")
    longest = (time.perf_counter() - started) / 4  # less than compiled programs need
    assert kill_sweep(flags, tmp_path / "killed", 3, longest=longest)
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
