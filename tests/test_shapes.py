"""Shapes in the annotations of model and engine are checked while the tests run.

`--jaxtyping-packages` in pyproject.toml switches it on; users do not pay for it.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from training_helpers import make_classifier, make_padded, make_texts

from gpt2_jax.engine.forward import gather, predict_step


def test_the_model_refuses_lengths_of_another_shape():
    model, params = make_classifier()
    padded = make_padded(4)
    assert model.apply({"params": params}, padded.tokens, padded.lengths) is not None
    with pytest.raises(TypeCheckError, match="lengths"):
        model.apply({"params": params}, padded.tokens, padded.lengths[:, None])


def test_the_model_refuses_other_shapes_while_it_is_traced():
    model, params = make_classifier()
    padded = make_padded(4)
    trace = jax.eval_shape(model.apply, {"params": params}, padded.tokens)
    assert trace.shape == (4, 2)
    with pytest.raises(TypeCheckError, match="tokens"):
        jax.eval_shape(model.apply, {"params": params}, padded.tokens.astype(float))


def test_the_engine_refuses_rows_of_another_shape():
    texts, rows = make_texts(4), np.arange(4)
    assert len(gather(texts.data, rows, 16)["tokens"]) == 4
    with pytest.raises(TypeCheckError, match="rows"):
        gather(texts.data, rows[None], 16)


def test_a_batch_gives_as_many_logits_as_it_has_texts():
    model, params = make_classifier()
    batch = make_texts(4).batches(np.arange(4), 16)
    with pytest.raises(TypeCheckError, match="lengths"):
        predict_step(params, {**batch, "lengths": batch["lengths"][:3]}, model=model)


def test_texts_have_one_label_each():
    texts = make_texts(4)
    with pytest.raises(TypeCheckError, match="labels"):
        dataclasses.replace(texts, labels=texts.labels[:3])
