"""On accelerators prediction sends tokens and gets logits; devices share the texts."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from training_helpers import random_run

from gpt2_jax.engine import spread
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.scorer import Scorer
from gpt2_jax.weights.trained import load_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


def _as_accelerators(monkeypatch, num: int) -> None:
    """Let the first devices of this CPU count as accelerators."""
    devices = jax.local_devices()[:num]
    monkeypatch.setattr(
        "gpt2_jax.inference.scorer.place_params",
        lambda params: [(d, jax.device_put(params, d)) for d in devices],
    )


@pytest.fixture
def encoded():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 20, 600)
    return [random.integers(0, 50257, size).tolist() for size in sizes]


@pytest.mark.slow
def test_logits_and_embeddings_are_those_of_the_packed_trunk(run, encoded, monkeypatch):
    few = encoded[:33]
    expected = Scorer(load_model(run))
    _as_accelerators(monkeypatch, 2)
    got = Scorer(load_model(run))
    for name in ("logits", "embeddings"):
        ours, theirs = getattr(got, name)(few), getattr(expected, name)(few)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert got.logits([]).shape == (0, 2)


@pytest.mark.parametrize("num", [1, 2])
def test_600_texts_send_their_tokens_and_get_their_logits(
    num, run, encoded, monkeypatch
):
    _as_accelerators(monkeypatch, num)
    scorer, sent, used, calls = Scorer(load_model(run)), [], set(), []
    real_put, real_program = jax.device_put, spread.logits_program

    def put(tree, device):
        sent.extend(leaf.nbytes for leaf in jax.tree.leaves(tree))
        used.add(device)
        return real_put(tree, device)

    def program(config):
        def call(params, data, rows, width):
            assert isinstance(data["values"], jax.Array)  # it is there already
            sent.append(rows.nbytes)
            out = real_program(config)(params, data, rows, width)
            calls.append(out.nbytes)
            return out

        return call

    monkeypatch.setattr(jax, "device_put", put)
    monkeypatch.setattr("gpt2_jax.inference.scorer.logits_program", program)
    scorer.logits(encoded)
    least = 4 * sum(map(len, encoded)) + 600 * 2 * 4
    assert sum(sent) + sum(calls) <= 3 * least
    assert len(used) == num and len(calls) <= 2 * num


def test_a_cpu_packs_its_texts(run):
    assert spread.place_params({}) == ()
    assert Classifier.load(run).predict(["a", "b"])
