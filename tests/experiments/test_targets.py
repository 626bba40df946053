"""The table of programs and accelerators grows until it is whole."""

from __future__ import annotations

import pytest

from experiments.targets import run
from gpt2_jax.config import PARALLEL, PRESETS, TRAINABLE
from gpt2_jax.errors import DeviceError
from gpt2_jax.plan import check
from gpt2_jax.plan.targets import TARGETS


def test_every_target_size_scope_number_type_and_wrapper_has_rows():
    rows = [(case.target.partition(":")[0], *case.names) for case in run.grid()]
    targets, sizes, scopes, dtypes, wrappers = map(set, zip(*rows, strict=True))
    assert targets == set(TARGETS)
    assert sizes == set(PRESETS)
    assert scopes == set(TRAINABLE)
    assert dtypes == {"float32", "bfloat16"}
    assert wrappers == {*PARALLEL, "jit, fsdp"}


def test_what_is_in_the_table_is_not_compiled_again(tmp_path, monkeypatch):
    compiled = []

    def compile_three(case):
        if len(compiled) == 3:
            raise KeyboardInterrupt
        compiled.append(case)
        return check.Need(1, "64 x 128", 2**30, 1.0, True, times={"matmuls": 1.0})

    monkeypatch.setattr(check, "prepare_compiler", lambda targets: None)
    monkeypatch.setattr(check, "check", compile_three)
    table = tmp_path / "table.md"
    first, second = [], []
    for batch in (first, second):
        with pytest.raises(KeyboardInterrupt):
            run.main(table)
        batch.extend(compiled)
        compiled.clear()
    assert first + second == list(run.grid())[:6]
    assert len(table.read_text().splitlines()) == len(check.HEADER) + 6


def test_a_compiler_that_fails_gives_a_row_that_says_so(tmp_path, monkeypatch):
    def fail(case):
        raise RuntimeError("INTERNAL: no such thing\nand much more")

    monkeypatch.setattr(check, "prepare_compiler", lambda targets: None)
    monkeypatch.setattr(check, "check", fail)
    table = tmp_path / "table.md"
    run.main(table)
    rows = table.read_text().splitlines()[len(check.HEADER) :]
    assert len(rows) == len(list(run.grid())) == len(run.keys_of(table.read_text()))
    assert all("the compiler failed: INTERNAL: no such thing |" in row for row in rows)


def test_without_a_compiler_there_is_no_row(tmp_path, monkeypatch):
    def lack(targets):
        raise DeviceError("check needs the compiler of tpu")

    monkeypatch.setattr(check, "prepare_compiler", lack)
    table = tmp_path / "table.md"
    with pytest.raises(DeviceError, match="needs the compiler"):
        run.main(table)
    assert not run.keys_of(table.read_text())
