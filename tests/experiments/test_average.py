"""Runs of the recipe, averaged."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from experiments.recipe import average
from experiments.recipe.run import STUDY
from experiments.study.runs import folder_of


def _write(workdir, place: int, seed: int, p_spam: list[float]) -> None:
    run = workdir / f"{folder_of(STUDY.settings[place].config)}-seed{seed}"
    run.mkdir(parents=True)
    labels = ["spam", "ham", "spam", "ham"]
    lines = [
        f"text {i},{label},ham,{1 - p},{p}\n"
        for i, (label, p) in enumerate(zip(labels, p_spam, strict=True))
    ]
    (run / "predictions.csv").write_text(
        "text,label,predicted,p_ham,p_spam\n" + "".join(lines)
    )


def test_probabilities_are_averaged_over_the_runs_of_a_setting(
    tmp_path, monkeypatch, capsys
):
    _write(tmp_path, 0, 0, [0.4, 0.1, 0.9, 0.9])  # two errors
    _write(tmp_path, 0, 1, [0.9, 0.2, 0.4, 0.8])  # two others, one of them shared
    _write(tmp_path, 1, 0, [0.0, 1.0, 0.0, 1.0])  # alone
    monkeypatch.setattr("sys.argv", ["average", "--workdir", str(tmp_path)])
    average.main()
    out = capsys.readouterr().out
    assert "defaults: 2 runs, each 50.00% in the mean, together 75.00%" in out
    assert "all of these: 2 runs" in out and out.endswith("  ham  text 3\n")


def test_a_workdir_without_runs_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["average", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit):
        average.main()
    assert "no setting has two runs" in capsys.readouterr().err
