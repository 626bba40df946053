"""What README promises of the main job, on the shipped weights and real texts."""

from __future__ import annotations

import dataclasses

import pytest

from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.training.finetune import finetune

pytestmark = pytest.mark.slow


def test_the_defaults_beat_the_baseline_on_unseen_families(tmp_path):
    results = finetune(FinetuneConfig(), tmp_path / "run")
    assert results["accuracy"]["test"] >= 0.92
    assert results["accuracy"]["test"] > results["baselines"]["tfidf_logreg"]
    assert results["baselines"]["tfidf_logreg"] < 0.97  # the data is not too easy


@pytest.mark.parametrize("seed", [0, 1])
def test_sms_spam_is_told_from_ham(seed, sms_path, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    config = FinetuneConfig(data=DataConfig(source="sms-spam"))
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, seed=seed)
    )
    results = finetune(config, tmp_path / "run")
    assert results["accuracy"]["test"] >= 0.96
    assert results["accuracy"]["test"] > results["accuracy_before"]
