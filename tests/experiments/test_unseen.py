"""Runs of the book's split, tested on what is in no training text."""

from __future__ import annotations

import csv

import pytest

pytest.importorskip("sklearn")

from experiments.head_tuning.run import SPLITS, rows
from experiments.head_tuning.unseen import main, unseen_texts
from experiments.study.runs import folder_of


def _predict(path, texts, wrong):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("text", "label", "predicted"))
        writer.writeheader()
        for number, text in enumerate(texts):
            predicted = "ham" if number in wrong else "spam"
            writer.writerow({"text": text, "label": "spam", "predicted": predicted})


def test_texts_that_stand_in_train_do_not_count(
    sms_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    book, unseen = (rows("mini", SPLITS[name])[0] for name in ("book", "unseen"))
    texts, kept = unseen_texts(book.config.data, unseen.config.data)
    assert len(texts) == 300 and kept.sum() == 263  # 37 of the 300 stand in train
    seen = [place for place, is_kept in enumerate(kept) if not is_kept]
    new = [place for place, is_kept in enumerate(kept) if is_kept]
    with pytest.raises(SystemExit):
        main(["--workdir", str(tmp_path)])
    assert "no predictions.csv of a run" in capsys.readouterr().err
    runs = [tmp_path / f"{folder_of(book.config)}-seed{seed}" for seed in (0, 1)]
    for run, wrong in zip(runs, (seen, new[:10]), strict=True):
        run.mkdir()
        _predict(run / "predictions.csv", texts, set(wrong))
    main(["--workdir", str(tmp_path)])
    expected = f"{(100 + 100 * 253 / 263) / 2:.2f} ± "
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and expected in lines[2]  # row 18 has the runs of row 1
    _predict(runs[1] / "predictions.csv", texts[1:], set())
    with pytest.raises(SystemExit):
        main(["--workdir", str(tmp_path)])
    assert "not the test texts of the book's split" in capsys.readouterr().err
