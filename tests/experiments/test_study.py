"""The harness of the studies, with a runner that trains nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from training_helpers import run_config, shared_programs

pytest.importorskip("matplotlib")

from study_helpers import FIRST, MEAN, Runner, make_study

from experiments.study.command import main, run_study
from experiments.study.runs import ROOT, commit_of, folder_of
from experiments.study.spec import Setting
from gpt2_jax.config import to_dict
from gpt2_jax.errors import DataError

NEW = {"new": 1.0}


def test_finished_runs_are_read_and_not_repeated(tmp_path):
    runner, study = Runner(), make_study()
    run_study(study, [0, 1], tmp_path, tmp_path, runner=runner)
    assert len(runner.runs) == 4
    run_study(study, [0, 1, 2], tmp_path, tmp_path, runner=runner)
    assert runner.runs[4:] == [("first", 2, False), ("mean", 2, False)]
    (tmp_path / f"{folder_of(MEAN)}-seed1" / "numbers.json").unlink()  # interrupted
    run_study(study, [0, 1], tmp_path, tmp_path, runner=runner)
    assert runner.runs[6:] == [("mean", 1, True)]


def test_rows_that_are_alike_share_their_runs_and_models_are_deleted(tmp_path):
    runner, study = Runner(), make_study(Setting("a", FIRST), Setting("b", FIRST))
    run_study(study, [0], tmp_path, tmp_path / "out", runner=runner)
    assert len(runner.runs) == 1
    assert len((tmp_path / "out" / "table.md").read_text().splitlines()) == 4
    assert not list(tmp_path.glob("*/model"))


def test_the_table_holds_all_that_is_finished_and_names_what_is_needed(tmp_path):
    large = Setting("355M", FIRST, needs="the released 355M, --rows 6", key="6")
    runner, study = Runner(), make_study(Setting("mean", MEAN), large)
    run_study(study, [0, 2], tmp_path, tmp_path, runner=runner)
    assert {pool for pool, _, _ in runner.runs} == {"mean"}
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| 91.00 ± 1.41 |" in lines[2] and "| 2 |" in lines[2]
    assert "| 6 | 355M (needs the released 355M, --rows 6) |" in lines[3]
    run_study(study, [0], tmp_path, tmp_path, rows=["6"], runner=runner)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "needs" not in lines[3] and "| 1 | mean |" in lines[2]


def test_every_run_is_a_line_of_the_csv(tmp_path):
    run_study(make_study(), [3, 4], tmp_path, tmp_path, runner=Runner())
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["setting"], row["seed"]) for row in rows] == [
        ("first", "3"),
        ("first", "4"),
        ("mean", "3"),
        ("mean", "4"),
    ]
    assert rows[1]["test"] == "94" and rows[1]["ece"] == "0.125"


def test_more_numbers_are_measured_while_the_model_is_there(tmp_path):
    def measure(run: Path, results: dict) -> dict[str, float]:
        return {"models": float((run / "model").is_dir())}

    study = make_study(
        metrics={"models": "models"}, plots=(("models",),), measure=measure
    )
    run_study(study, [0], tmp_path, tmp_path, runner=Runner())
    assert "| 1.00 |" in (tmp_path / "table.md").read_text()
    more = dataclasses.replace(study, metrics={"other": "other"}, plots=(("other",),))
    with pytest.raises(ValueError, match="finished without other; delete it"):
        run_study(more, [0], tmp_path, tmp_path, runner=Runner())


def test_a_table_is_extended_where_its_runs_are_not(tmp_path):
    runner, out = Runner(), tmp_path / "out"
    run_study(make_study(), [0, 1], tmp_path / "here", out, runner=runner)
    there, before = tmp_path / "there", (out / "results.csv").read_text()
    run_study(make_study(), [0], there, out, rows=["1"], extend=True, runner=runner)
    assert (out / "results.csv").read_text() == before and len(runner.runs) == 4
    run_study(make_study(), [2], there, out, rows=["2"], extend=True, runner=runner)
    assert runner.runs[4:] == [("mean", 2, False)]
    lines = (out / "table.md").read_text().splitlines()
    assert "| 2 |" in lines[2] and "| 3 |" in lines[3]


def test_a_run_without_a_number_that_is_shown_now_is_not_taken(tmp_path):
    run_study(make_study(), [0], tmp_path / "a", tmp_path, runner=Runner())
    more = make_study(
        metrics={"test": "test (%)", "new": "new"}, measure=lambda *_: NEW
    )
    runner = Runner()
    run_study(more, [0], tmp_path / "b", tmp_path, extend=True, runner=runner)
    assert len(runner.runs) == 2
    assert "| 90.00 | 1.00 |" in (tmp_path / "table.md").read_text()


def test_all_that_is_finished_is_written_and_how_it_is_made(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "out"
    run_study(make_study(), [0, 3], runs, out, rows=["2"], runner=Runner())
    run_study(make_study(), [1], runs, out, runner=Runner())
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = [(row["row"], row["seed"]) for row in csv.DictReader(file)]
    assert rows == [("1", "1"), ("2", "0"), ("2", "1"), ("2", "3")]
    page = (out / "page.html").read_text("utf-8")
    expected = "python -m s --rows 1 --seeds 1\npython -m s --rows 2 --seeds 0 1 3"
    assert expected in page


def test_a_table_of_other_settings_is_not_extended(tmp_path):
    run_study(make_study(), [0], tmp_path / "a", tmp_path, runner=Runner())
    study, there = make_study(Setting("mean", MEAN)), tmp_path / "b"
    with pytest.raises(ValueError, match=f"none of .* settings: {folder_of(FIRST)};"):
        run_study(study, [0], there, tmp_path, extend=True, runner=Runner())
    assert not there.exists()


def test_what_is_no_table_is_not_extended(tmp_path):
    with pytest.raises(ValueError, match=r"results\.csv: no such file"):
        run_study(make_study(), [0], tmp_path, tmp_path, extend=True, runner=Runner())
    (tmp_path / "results.csv").write_text("row,setting,x,seed,test\n")
    with pytest.raises(ValueError, match="no column seconds, device, commit, run"):
        run_study(make_study(), [0], tmp_path, tmp_path, extend=True, runner=Runner())


def test_a_run_of_another_config_is_refused(tmp_path):
    study = make_study(Setting("mean", MEAN))
    run_study(study, [0], tmp_path, tmp_path, runner=Runner())
    (config,) = tmp_path.glob("*/config.json")
    config.write_text(json.dumps(to_dict(FIRST)))
    with pytest.raises(ValueError, match="another config"):
        run_study(study, [0], tmp_path, tmp_path, runner=Runner())


def test_an_unknown_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no 3; known: 1, 2"):
        run_study(make_study(), [0], tmp_path, tmp_path, rows=["3"], runner=Runner())


def test_data_that_cannot_be_had_are_one_line(tmp_path, monkeypatch, capsys):
    def build(arguments):
        raise DataError("no such texts")

    monkeypatch.setattr(
        "experiments.study.command.keep_compiled_programs", lambda: None
    )
    monkeypatch.setattr("sys.argv", ["study", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main(build)
    assert stopped.value.code == DataError.exit_code
    assert capsys.readouterr().err == "error: no such texts\n"


def test_a_run_that_was_moved_away_does_not_count(tmp_path):
    study = make_study(Setting("mean", MEAN))
    run_study(study, [0], tmp_path, tmp_path, runner=Runner())
    (run,) = tmp_path.glob("*-seed0")
    run.rename(tmp_path / f"{run.name}-old")
    run_study(study, [1], tmp_path, tmp_path, runner=Runner())
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["1"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_run_tells_whether_its_code_was_changed(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    code = (tmp_path / "gpt2_jax/model/a.py", tmp_path / "experiments/cut/run.py")
    table = tmp_path / "experiments/cut/table.md"
    for path in (*code, table):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = commit_of(tmp_path)
    assert commit.isalnum() and commit != "unknown"
    table.write_text("after")  # what a study writes is no code
    assert commit_of(tmp_path) == commit
    for path in code:
        path.write_text("after")
        assert commit_of(tmp_path) == f"{commit}+"
        git("checkout", str(path))
    assert (ROOT / "gpt2_jax/version.py").is_file()


@pytest.mark.slow
def test_a_study_from_end_to_end(tmp_path_factory, tmp_path):
    config = run_config(tmp_path_factory, keep="last")
    first = dataclasses.replace(config, pool="first")
    study = make_study(Setting("last real", config), Setting("first", first))
    with shared_programs(tmp_path / "programs"):
        for rows in (["1"], ["2"]):
            run_study(study, [0], tmp_path / "runs", tmp_path / "out", rows=rows)
    assert not list((tmp_path / "runs").glob("*/checkpoints"))
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0"] * 2
    for row in rows:
        results = tmp_path / "runs" / row["run"] / "results.json"
        accuracy = json.loads(results.read_text())["accuracy"]
        assert float(row["test"]) == pytest.approx(100 * accuracy["test"], rel=1e-5)
