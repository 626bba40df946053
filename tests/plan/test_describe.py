"""What is told of the texts before a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from training_helpers import run_config

from gpt2_jax.config import DataConfig
from gpt2_jax.errors import DataError
from gpt2_jax.plan.describe import describe
from gpt2_jax.plan.prepare import prepare


def _config(factory: pytest.TempPathFactory, path: Path, good: str, bad: str, **data):
    rows = [f"{i} {t},{c}" for i in range(20) for t, c in ((good, "a"), (bad, "b"))]
    path.write_text("\n".join(["text,label", *rows]), "utf-8")
    config = run_config(factory)
    return dataclasses.replace(config, data=DataConfig(source=str(path), **data))


@pytest.mark.parametrize(
    ("good", "bad", "cut"),
    [
        ("ดีมากเลยนะ", "แย่มากเลย", True),
        ("很好的东西", "很坏的东西", True),
        ("очень хорошо", "очень плохо", True),
        ("ein schöner Tag", "ein übler Tag", False),
        ("what a nice day 🎉", "what a bad day", False),
    ],
)
def test_a_script_that_the_vocabulary_cuts_to_bytes_is_told(
    good, bad, cut, tmp_path_factory, tmp_path
):
    task = prepare(_config(tmp_path_factory, tmp_path / "t.csv", good, bad))
    told = "\n".join(describe(task))
    assert ("cuts this script to bytes" in told) == cut
    assert f"{task.tokens_per_character:.2f} tokens a character" in told


def test_a_batch_that_is_not_filled_names_the_flag(tmp_path_factory, tmp_path):
    config = _config(tmp_path_factory, tmp_path / "t.csv", "good", "bad", shots=2)
    with pytest.raises(DataError, match=r"4 training texts do not .* raise --shots 2"):
        prepare(config)
