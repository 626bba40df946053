"""Runs in a folder as a list, and finished ones side by side."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from training_helpers import error_line, finished_run

from gpt2_jax.cli.main import main
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.sweeps.compare import compare_runs, write_comparison
from gpt2_jax.sweeps.listing import Listed, differing, find_runs, select


@pytest.fixture
def runs(tmp_path_factory, tmp_path):
    """Three runs: one, the same with other answers and another rate, an unfinished."""
    first = finished_run(tmp_path_factory)
    for name in ("a", "b", "c"):
        shutil.copytree(first, tmp_path / "runs" / name)
    folder = tmp_path / "runs"
    (folder / "c" / "results.json").unlink()
    _change(folder / "b" / "config.json", lambda v: v["train"].update(seed=7))
    _change(folder / "b" / "results.json", lambda v: v["accuracy"].update(test=0.25))
    lines = (folder / "b" / "predictions.csv").read_text().splitlines()
    head, *rest = lines
    turned = []
    for number, line in enumerate(rest):
        text, label, _, ham, spam = line.split(",")
        sure = f"{label},0.9,0.1" if label == "ham" else f"{label},0.1,0.9"
        wrong = "spam,0.2,0.8" if label == "ham" else "ham,0.8,0.2"
        turned.append(f"{text},{label},{wrong if number < 2 else sure}")
        del ham, spam
    (folder / "b" / "predictions.csv").write_text("\n".join([head, *turned]) + "\n")
    return folder


def _change(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_runs_are_listed_with_what_differs(runs, capsys):
    found = find_runs(runs)
    assert [run.name for run in found] == ["a", "b", "c"]
    assert differing(found) == ["train.seed"]
    assert found[1].numbers["test"] == 25 and not found[2].numbers
    assert main(["runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "train.seed" in lines[0] and "not finished" in lines[3]


def test_runs_are_sorted_filtered_and_printed_as_json(runs, capsys):
    assert main(["runs", str(runs), "--json", "--sort", "test"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [value["run"] for value in values][-1] == "c" or values[0]["run"] == "a"
    assert values[0]["settings"]["train.epochs"] == 2
    found = find_runs(runs)
    assert [r.name for r in select(found, ["train.seed=7"], "name")] == ["b"]
    tests = [r.numbers.get("test") for r in select(found, [], "test")]
    known = [value for value in tests if value is not None]
    assert known == sorted(known, reverse=True) and tests[-1] is None
    for where, sort in ((["seed"], "name"), (["nothing=1"], "name"), ([], "nothing")):
        with pytest.raises(UserError, match=r"--where|--sort"):
            select(found, where, sort)


def test_a_folder_without_runs_is_said(tmp_path, capsys):
    assert "no run in it" in error_line(capsys, ["runs", str(tmp_path)], 2)
    assert "no such folder" in error_line(capsys, ["runs", str(tmp_path / "x")], 2)


def test_two_runs_are_compared_on_the_texts_that_both_have(runs, tmp_path):
    compared = compare_runs([runs / "a", runs / "b"])
    (pair,) = compared.pairs
    assert pair.texts == 12 and not compared.notes
    assert compared.settings == ("train.seed",)
    assert pair.ahead.low <= pair.ahead.mean <= pair.ahead.high
    apart = pair.mcnemar["only_second"] - pair.mcnemar["only_first"]
    assert pair.ahead.mean == pytest.approx(100 * apart / pair.texts)
    assert len(pair.differ) == pair.mcnemar["only_second"] + pair.mcnemar["only_first"]
    page = tmp_path / "page.html"
    write_comparison(compared, page)
    assert "<svg" in page.read_text() and "McNemar" in page.read_text()


def test_other_test_texts_are_left_out_in_words(runs):
    path = runs / "b" / "predictions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-4]) + "\n")
    compared = compare_runs([runs / "a", runs / "b"])
    assert compared.pairs[0].texts == 8
    assert "only the 8 that both have" in compared.notes[0]


def test_runs_that_cannot_be_compared_are_refused(runs):
    with pytest.raises(WeightsError, match="is not finished"):
        compare_runs([runs / "a", runs / "c"])
    with pytest.raises(UserError, match="holds 3 runs; name those to compare"):
        compare_runs([runs / "a", runs])
    (runs / "b" / "predictions.csv").write_text(
        "text,label,predicted,p_ham,p_spam\nother,ham,ham,0.9,0.1\n"
    )
    with pytest.raises(UserError, match="no test text in common"):
        compare_runs([runs / "a", runs / "b"])


def test_the_terminal_shows_the_texts_that_differ(runs, capsys):
    assert main(["compare", str(runs / "a"), str(runs / "b")]) == 0
    shown = capsys.readouterr().out
    assert "McNemar's p" in shown and "Texts on which" in shown
    assert dataclasses.is_dataclass(compare_runs([runs / "a", runs / "b"]))


@pytest.mark.parametrize(
    ("value", "told", "same"),
    [
        (0.001, "1e-3", True),
        (0.001, "0.001", True),
        (0.001, "1e-4", False),
        (False, "false", True),
        (False, "0", False),
        (1, "true", False),
        (None, "null", True),
        (None, "None", True),
        (None, "", True),
        (["head", "lora"], "head+lora", True),
        ([0.7, 0.1, 0.2], "[0.7,0.1,0.2]", True),
        ("head", "Head", False),
    ],
)
def test_where_compares_values_and_not_how_they_are_written(value, told, same):
    run = Listed("a", Path(), None, None, {"field": value}, {})
    assert (select([run], [f"field={told}"], "name") == [run]) == same
