"""The harness of the studies, with a runner that trains nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest
from training_helpers import run_config, shared_programs

pytest.importorskip("matplotlib")

from experiments.study import Setting, Study, folder_of, main, run_study
from experiments.study_results import summarize
from gpt2_jax.config import DataConfig, FinetuneConfig, to_dict
from gpt2_jax.errors import DataError

NEW = {"new": 1.0}
FIRST, MEAN = FinetuneConfig(pool="first"), FinetuneConfig(pool="mean")


class Runner:
    """Writes what a run leaves, and counts."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, bool]] = []

    def __call__(self, config, run: Path, *, resume: bool, trunk_cache: Path) -> dict:
        seed = config.train.seed
        self.runs.append((config.pool, seed, resume))
        (run / "model").mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(json.dumps(to_dict(config)))
        accuracy = 0.9 + seed / 100
        return {
            "accuracy": dict.fromkeys(("train", "validation", "test"), accuracy),
            "baselines": {"tfidf_logreg": None},
            "test": {"ece": 0.125, "confusion": [[1]]},
            "seconds": {"total": 1.0},
            "device": "1 x cpu",
        }


def _study(*settings: Setting, **fields) -> Study:
    settings = settings or (Setting("first", FIRST), Setting("mean", MEAN))
    return Study("s", "Title <&>", "Why?", settings, "python -m s", **fields)


def test_the_interval_is_students():
    summary = summarize([1.0, 2.0, 3.0])
    assert summary.mean == 2 and summary.sd == 1
    # 4.3027 is the 97.5% point of t with 2 degrees of freedom, from a printed table.
    assert summary.half == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert str(summary) == "2.00 ± 1.00"


def test_one_run_has_no_spread_and_no_interval():
    summary = summarize([97.0])
    assert str(summary) == "97.00" and summary.interval == ""


def test_finished_runs_are_read_and_not_repeated(tmp_path):
    runner, study = Runner(), _study()
    run_study(study, [0, 1], tmp_path, tmp_path, runner=runner)
    assert len(runner.runs) == 4
    run_study(study, [0, 1, 2], tmp_path, tmp_path, runner=runner)
    assert runner.runs[4:] == [("first", 2, False), ("mean", 2, False)]
    (tmp_path / f"{folder_of(MEAN)}-seed1" / "numbers.json").unlink()  # interrupted
    run_study(study, [0, 1], tmp_path, tmp_path, runner=runner)
    assert runner.runs[6:] == [("mean", 1, True)]


def test_rows_that_are_alike_share_their_runs_and_models_are_deleted(tmp_path):
    runner, study = Runner(), _study(Setting("a", FIRST), Setting("b", FIRST))
    run_study(study, [0], tmp_path, tmp_path / "out", runner=runner)
    assert len(runner.runs) == 1
    assert len((tmp_path / "out" / "table.md").read_text().splitlines()) == 4
    assert not list(tmp_path.glob("*/model"))


def test_the_table_holds_all_that_is_finished_and_names_what_is_needed(tmp_path):
    large = Setting("355M", FIRST, needs="the released 355M, --rows 6", key="6")
    runner, study = Runner(), _study(Setting("mean", MEAN), large)
    run_study(study, [0, 2], tmp_path, tmp_path, runner=runner)
    assert {pool for pool, _, _ in runner.runs} == {"mean"}
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| 91.00 ± 1.41 |" in lines[2] and "| 2 |" in lines[2]
    assert "| 6 | 355M (needs the released 355M, --rows 6) |" in lines[3]
    run_study(study, [0], tmp_path, tmp_path, rows=["6"], runner=runner)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "needs" not in lines[3] and "| 1 | mean |" in lines[2]


def test_every_run_is_a_line_of_the_csv(tmp_path):
    run_study(_study(), [3, 4], tmp_path, tmp_path, runner=Runner())
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

    study = _study(metrics={"models": "models"}, plots=(("models",),), measure=measure)
    run_study(study, [0], tmp_path, tmp_path, runner=Runner())
    assert "| 1.00 |" in (tmp_path / "table.md").read_text()
    more = dataclasses.replace(study, metrics={"other": "other"}, plots=(("other",),))
    with pytest.raises(ValueError, match="finished without other; delete it"):
        run_study(more, [0], tmp_path, tmp_path, runner=Runner())


def test_a_table_is_extended_where_its_runs_are_not(tmp_path):
    runner, out = Runner(), tmp_path / "out"
    run_study(_study(), [0, 1], tmp_path / "here", out, runner=runner)
    there, before = tmp_path / "there", (out / "results.csv").read_text()
    run_study(_study(), [0], there, out, rows=["1"], extend=True, runner=runner)
    assert (out / "results.csv").read_text() == before and len(runner.runs) == 4
    run_study(_study(), [2], there, out, rows=["2"], extend=True, runner=runner)
    assert runner.runs[4:] == [("mean", 2, False)]
    lines = (out / "table.md").read_text().splitlines()
    assert "| 2 |" in lines[2] and "| 3 |" in lines[3]


def test_a_run_without_a_number_that_is_shown_now_is_not_taken(tmp_path):
    run_study(_study(), [0], tmp_path / "a", tmp_path, runner=Runner())
    more = _study(metrics={"test": "test (%)", "new": "new"}, measure=lambda *_: NEW)
    runner = Runner()
    run_study(more, [0], tmp_path / "b", tmp_path, extend=True, runner=runner)
    assert len(runner.runs) == 2
    assert "| 90.00 | 1.00 |" in (tmp_path / "table.md").read_text()


def test_all_that_is_finished_is_written_and_how_it_is_made(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "out"
    run_study(_study(), [0, 3], runs, out, rows=["2"], runner=Runner())
    run_study(_study(), [1], runs, out, runner=Runner())
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = [(row["row"], row["seed"]) for row in csv.DictReader(file)]
    assert rows == [("1", "1"), ("2", "0"), ("2", "1"), ("2", "3")]
    page = (out / "page.html").read_text("utf-8")
    expected = "python -m s --rows 1 --seeds 1\npython -m s --rows 2 --seeds 0 1 3"
    assert expected in page


def test_a_table_of_other_settings_is_not_extended(tmp_path):
    run_study(_study(), [0], tmp_path / "a", tmp_path, runner=Runner())
    study, there = _study(Setting("mean", MEAN)), tmp_path / "b"
    with pytest.raises(ValueError, match=f"none of .* settings: {folder_of(FIRST)};"):
        run_study(study, [0], there, tmp_path, extend=True, runner=Runner())
    assert not there.exists()


def test_what_is_no_table_is_not_extended(tmp_path):
    with pytest.raises(ValueError, match=r"results\.csv: no such file"):
        run_study(_study(), [0], tmp_path, tmp_path, extend=True, runner=Runner())
    (tmp_path / "results.csv").write_text("row,setting,x,seed,test\n")
    with pytest.raises(ValueError, match="no column seconds, device, commit, run"):
        run_study(_study(), [0], tmp_path, tmp_path, extend=True, runner=Runner())


def test_a_run_of_another_config_is_refused(tmp_path):
    study = _study(Setting("mean", MEAN))
    run_study(study, [0], tmp_path, tmp_path, runner=Runner())
    (config,) = tmp_path.glob("*/config.json")
    config.write_text(json.dumps(to_dict(FIRST)))
    with pytest.raises(ValueError, match="another config"):
        run_study(study, [0], tmp_path, tmp_path, runner=Runner())


def test_an_unknown_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no 3; known: 1, 2"):
        run_study(_study(), [0], tmp_path, tmp_path, rows=["3"], runner=Runner())


def test_data_that_cannot_be_had_are_one_line(tmp_path, monkeypatch, capsys):
    def build(arguments):
        raise DataError("no such texts")

    monkeypatch.setattr("experiments.study.keep_compiled_programs", lambda: None)
    monkeypatch.setattr("sys.argv", ["study", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main(build)
    assert stopped.value.code == DataError.exit_code
    assert capsys.readouterr().err == "no such texts\n"


class Baselines:
    """Two of them, and how often they were fitted."""

    def __init__(self) -> None:
        self.fitted: list[tuple[str, int]] = []

    def __call__(self, config: FinetuneConfig, seed: int) -> dict:
        self.fitted.append((config.data.source, seed))
        near = {"test": 90.5 + seed, "train": 91.0}
        return {"close <by>": near, "far off": {"test": 10.0}}


def test_baselines_stand_beside_the_rows_that_share_their_texts(tmp_path):
    own = dataclasses.replace(FIRST, data=DataConfig(source="sms-spam"))
    settings = [Setting(name, FIRST) for name in "ab"]
    settings += [Setting("c", own), Setting("d", MEAN), Setting("e", MEAN)]
    study = _study(*settings, beside=(fit := Baselines()))
    for rows in (["1", "2", "3"], ["4"]):  # row 5 shares the runs of row 4
        run_study(study, [0, 1], tmp_path, tmp_path, rows=rows, runner=Runner())
    texts = [("demo", 0), ("demo", 1), ("sms-spam", 0), ("sms-spam", 1)]
    assert sorted(fit.fitted) == texts  # once for each of them, and each seed
    table = (tmp_path / "table.md").read_text().split("\n\n")[1].splitlines()
    head = "| rows | on the same texts | training accuracy (%) | test accuracy (%) |"
    assert table[0] == head
    assert table[2:] == [
        "| 1 to 2, 4 to 5 | close <by> | 91.00 ± 0.00 | 91.00 ± 0.71 |",
        "| 1 to 2, 4 to 5 | far off |  | 10.00 ± 0.00 |",
        "| 3 | close <by> | 91.00 ± 0.00 | 91.00 ± 0.71 |",
        "| 3 | far off |  | 10.00 ± 0.00 |",
    ]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("close &lt;by&gt;") >= 2 and "far off" in page


@pytest.mark.parametrize("x_label", ["", "training texts"])
def test_a_figure_shows_the_baselines_that_leave_its_scale(x_label, tmp_path):
    settings = [
        Setting("a", dataclasses.replace(FIRST, max_length=n), x=n) for n in (10, 100)
    ]
    plots = (("validation", "test"),)  # the baselines have no validation accuracy
    study = _study(*settings, x_label=x_label, beside=Baselines(), plots=plots)
    run_study(study, [0, 1], tmp_path, tmp_path, runner=Runner())
    figure = (tmp_path / "plot.svg").read_text("utf-8")
    assert "close &lt;by&gt;" in figure and "far off" not in figure


def test_the_axes_of_lines_hold_every_point(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *_, **__: drawn.append(figure),
    )
    monkeypatch.setattr("experiments.study_plots.to_svg", lambda *_: "")
    settings = [
        Setting(name, dataclasses.replace(FIRST, pool=name, max_length=n), x=n)
        for name in ("first", "mean")
        for n in (10, 40)
    ]
    study = _study(*settings, x_label="tokens", plots=(("test",), ("ece_before",)))
    study = dataclasses.replace(
        study,
        metrics=study.metrics | {"ece_before": "error (%)"},
        measure=lambda run, _: {"ece_before": 30.0 + len(run.name)},
    )
    run_study(study, [0, 3], tmp_path, tmp_path, runner=Runner())
    tests, errors = (figure.axes[0] for figure in drawn[-2:])
    assert tests.get_ylim()[0] < 90 and 93 < tests.get_ylim()[1] <= 100.5
    assert errors.get_ylim()[0] < 48 < errors.get_ylim()[1]  # a name of 18 letters
    for axes in (tests, errors):
        assert 0 < axes.get_xlim()[0] < 10 and 40 < axes.get_xlim()[1] < 50


@pytest.mark.parametrize("x_label", ["", "training texts"])
def test_the_page_needs_nothing_beside_it_and_the_figure_has_bars(x_label, tmp_path):
    settings = [
        Setting("this <model>", dataclasses.replace(FIRST, max_length=n), x=n)
        for n in (10, 100)
    ]
    study = _study(*settings, x_label=x_label, log_x=True, plots=(("test", "train"),))
    run_study(study, [0, 1, 2], tmp_path, tmp_path, runner=Runner())
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Title &lt;&amp;&gt;" in page and "this &lt;model&gt;" in page
    assert "<script" not in page and "http://" not in page.replace("http://www.w3", "")
    assert "var(--series-1)" in page and "python -m s --seeds 0 1 2" in page
    figure = (tmp_path / "plot.svg").read_text("utf-8")
    assert "LineCollection" in figure  # the error bars
    assert "test accuracy (%)" in figure and x_label in figure


@pytest.mark.slow
def test_a_study_from_end_to_end(tmp_path_factory, tmp_path):
    config = run_config(tmp_path_factory, keep="last")
    first = dataclasses.replace(config, pool="first")
    study = _study(Setting("last real", config), Setting("first", first))
    with shared_programs(tmp_path / "programs"):
        for rows in (["1"], ["2"]):
            run_study(study, [0], tmp_path / "runs", tmp_path / "out", rows=rows)
    # Both rows read other tokens of the same trunk.
    assert len(list((tmp_path / "runs" / "trunks").iterdir())) == 1
    assert not list((tmp_path / "runs").glob("*/checkpoints"))
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0"] * 2
    for row in rows:
        results = tmp_path / "runs" / row["run"] / "results.json"
        accuracy = json.loads(results.read_text())["accuracy"]
        assert float(row["test"]) == pytest.approx(100 * accuracy["test"], rel=1e-5)
