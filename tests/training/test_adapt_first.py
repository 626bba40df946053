"""What `finetune --adapt` hands to the run, and what it refuses, without training."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import write_table

from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.config.layout import LayoutConfig
from gpt2_jax.errors import UserError
from gpt2_jax.training import adapt_first as room
from gpt2_jax.training.adapt import Adapted
from gpt2_jax.training.adapt_first import adapt_first


def test_the_layout_is_that_of_the_weights_that_are_adapted(tmp_path, monkeypatch):
    given = []

    def adapt(config, run, **how):
        given.append(config.layout)
        return Adapted(run / "weights", 1, 1, 2.0, 1.0)

    monkeypatch.setattr(room, "adapt", adapt)
    write_table(tmp_path / "texts.csv")
    layout = LayoutConfig(num_heads=4, naming="llms-from-scratch")
    data = DataConfig(source=str(tmp_path / "texts.csv"))
    config = FinetuneConfig(weights="base.pth", layout=layout, data=data)
    adapted = adapt_first(config, tmp_path / "run")
    assert given == [layout] and adapted.layout == LayoutConfig()
    assert Path(adapted.weights) == tmp_path / "run-adapted" / "run" / "weights"


@pytest.mark.parametrize(
    ("source", "workdir", "words"),
    [
        ("-", "run", "only once"),
        ("demo", "gs://bucket/run", "adapt writes into folders"),
    ],
)
def test_what_cannot_be_read_again_or_written_is_refused(source, workdir, words):
    config = FinetuneConfig(data=DataConfig(source=source))
    with pytest.raises(UserError, match=words):
        adapt_first(config, workdir)
