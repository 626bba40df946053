"""What a study writes: tables, baselines beside them, figures, a page."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from study_helpers import FIRST, MEAN, Runner, make_study

from experiments.study.command import run_study
from experiments.study.spec import Setting
from gpt2_jax.config import DataConfig, FinetuneConfig


class Baselines:
    """Two of them, and how often they were fitted."""

    def __init__(self) -> None:
        self.fitted: list[tuple[str, int]] = []

    def __call__(self, config: FinetuneConfig, seed: int) -> dict:
        self.fitted.append((str(config.data.source), seed))
        near = {"test": 90.5 + seed, "train": 91.0}
        return {"close <by>": near, "far off": {"test": 10.0}}


@pytest.mark.slow
def test_baselines_stand_beside_the_rows_that_share_their_texts(tmp_path):
    own = dataclasses.replace(FIRST, data=DataConfig(source="sms-spam"))
    settings = [Setting(name, FIRST) for name in "ab"]
    settings += [Setting("c", own), Setting("d", MEAN), Setting("e", MEAN)]
    study = make_study(*settings, beside=(fit := Baselines()))
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
    for changes in ({"command": "python -m s --flag"}, {"metrics": {"test": "%"}}):
        other = dataclasses.replace(study, **changes)
        run_study(other, [], tmp_path, tmp_path)
    assert sorted(fit.fitted) == sorted(3 * texts)  # they may have other numbers


@pytest.mark.parametrize("x_label", ["", "training texts"])
def test_a_figure_shows_the_baselines_that_leave_its_scale(x_label, tmp_path):
    settings = [
        Setting("a", dataclasses.replace(FIRST, max_length=n), x=n) for n in (10, 100)
    ]
    plots = (("validation", "test"),)  # the baselines have no validation accuracy
    study = make_study(*settings, x_label=x_label, beside=Baselines(), plots=plots)
    run_study(study, [0, 1], tmp_path, tmp_path, runner=Runner())
    figure = (tmp_path / "plot.svg").read_text("utf-8")
    assert "close &lt;by&gt;" in figure and "far off" not in figure


def test_the_axes_of_lines_hold_every_point(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, *_, **__: drawn.append(figure),
    )
    monkeypatch.setattr("experiments.study.plots.to_svg", lambda *_: "")
    settings = [
        Setting(name, dataclasses.replace(FIRST, pool=name, max_length=n), x=n)
        for name in ("first", "mean")
        for n in (10, 40)
    ]
    study = make_study(*settings, x_label="tokens", plots=(("test",), ("ece_before",)))
    study = dataclasses.replace(
        study,
        metrics={**study.metrics, "ece_before": "error (%)"},
        measure=lambda run, _: {"ece_before": 30.0 + len(run.name)},
    )
    run_study(study, [0], tmp_path, tmp_path, rows=["1"], runner=Runner())
    (line,) = drawn[-2].axes[0].containers
    bar = np.asarray(line.lines[1][0].get_ydata(), float)
    assert np.isnan(bar).all()  # of one run
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
    study = make_study(
        *settings, x_label=x_label, log_x=True, plots=(("test", "train"),)
    )
    run_study(study, [0, 1, 2], tmp_path, tmp_path, runner=Runner())
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Title &lt;&amp;&gt;" in page and "this &lt;model&gt;" in page
    assert "<script" not in page and "http://" not in page.replace("http://www.w3", "")
    assert "var(--series-1)" in page and "python -m s --seeds 0 1 2" in page
    figure = (tmp_path / "plot.svg").read_text("utf-8")
    assert "LineCollection" in figure  # the error bars
    assert "test accuracy (%)" in figure and x_label in figure
