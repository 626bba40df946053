"""A broken output file is gone on with, or refused; never mixed up."""

from __future__ import annotations

import json
import random

import pytest

from gpt2_jax.errors import UserError
from gpt2_jax.inference.output import resume_answers, write_answers
from gpt2_jax.inference.rows import Row

_WINDOWS = [[Row(f"text {i}", i) for i in range(s, min(s + 4, 11))] for s in (0, 4, 8)]


def _answer(window: list[Row], *, shift: float = 0.0) -> list[str]:
    p = [round(len(row.text) / 30 + row.id / 100 + shift, 6) for row in window]
    return [
        json.dumps(
            {
                "id": row.id,
                "label": "a é",
                "prob": x,
                "probs": {"a é": x, "b": 1 - x},
                "n_tokens": len(row.text),
                "truncated": False,
            },
            ensure_ascii=False,
        )
        for row, x in zip(window, p, strict=True)
    ]


@pytest.fixture
def whole(tmp_path) -> bytes:
    path = tmp_path / "whole.jsonl"
    assert list(write_answers(path, _WINDOWS, _answer)) == [4, 4, 3]
    return path.read_bytes()


def test_an_output_cut_anywhere_ends_as_the_whole_one(tmp_path, whole):
    path = tmp_path / "out.jsonl"
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        added = sum(resume_answers(path, _WINDOWS, _answer))
        assert path.read_bytes() == whole, end
        assert added == 11 - whole[:end].count(b"\n")


def test_only_the_last_window_that_was_answered_is_answered_again(tmp_path, whole):
    path, asked = tmp_path / "out.jsonl", []

    def answer(window: list[Row]) -> list[str]:
        asked.append(window)
        return _answer(window)

    lines = whole.splitlines(keepends=True)
    for done, expected in ((8, _WINDOWS[1:]), (9, _WINDOWS[2:]), (11, _WINDOWS[2:])):
        asked.clear()
        path.write_bytes(b"".join(lines[:done]))
        list(resume_answers(path, _WINDOWS, answer))
        assert asked == expected


@pytest.mark.parametrize("done", [1, 4, 6, 8, 11])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [Row(row.text, row.id + 1) for row in rows],
        lambda rows: [Row(f"{row.text}!", row.id) for row in rows],
    ],
)
def test_the_output_of_another_input_is_refused_and_kept(tmp_path, whole, done, change):
    path = tmp_path / "out.jsonl"
    start = b"".join(whole.splitlines(keepends=True)[:done]) + b'{"half'
    path.write_bytes(start)
    others = [change(window) for window in _WINDOWS]
    with pytest.raises(UserError, match=r"line \d+: not what this run says"):
        list(resume_answers(path, others, _answer))
    assert path.read_bytes() == start


def test_the_output_of_another_run_is_refused_but_not_of_another_device(
    tmp_path, whole
):
    path = tmp_path / "out.jsonl"
    path.write_bytes(whole[: len(whole) // 2])

    def other_run(window: list[Row]) -> list[str]:
        return _answer(window, shift=0.1)

    def other_device(window: list[Row]) -> list[str]:
        return _answer(window, shift=0.001)

    with pytest.raises(UserError, match="another one wrote it"):
        list(resume_answers(path, _WINDOWS, other_run))
    list(resume_answers(path, _WINDOWS, other_device))
    assert path.read_bytes().count(b"\n") == 11


def test_more_lines_than_the_input_has_texts_are_refused(tmp_path, whole):
    path = tmp_path / "out.jsonl"
    path.write_bytes(whole)
    for windows in (_WINDOWS[:2], [*_WINDOWS[:2], _WINDOWS[2][:1]]):
        with pytest.raises(UserError, match="more lines than the input has texts"):
            list(resume_answers(path, windows, _answer))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"not json\n", b"3\n", b"{}\n", b"\xff\n", b"\n"])
def test_what_is_no_output_of_ours_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.txt, line 1: not what this run says"):
        list(resume_answers(path, _WINDOWS, _answer))
    assert path.read_bytes() == content


def test_cuts_at_random_points_of_many_windows(tmp_path):
    chance = random.Random(3)
    rows = [Row(f"t{i}", i) for i in range(300)]
    windows = [rows[i : i + 37] for i in range(0, 300, 37)]
    path = tmp_path / "out.jsonl"
    list(write_answers(path, windows, _answer))
    whole = path.read_bytes()
    path.write_bytes(b"")
    while path.read_bytes() != whole:  # killed, gone on with, killed again
        list(resume_answers(path, windows, _answer))
        size = chance.randrange(len(whole) + 4000)
        path.write_bytes(whole[:size])
