"""The naming is told by the tensors; where they do not tell, nobody guesses."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import TINY, random_params

from gpt2_jax import config
from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.convert import convert_state_dict, to_state_dict
from gpt2_jax.weights.detect import detect_naming, unwrap
from gpt2_jax.weights.rules import (
    FLAX,
    HUGGING_FACE,
    LLMS_FROM_SCRATCH,
    LLMS_FROM_SCRATCH_FAST,
    MINGPT,
    NAMINGS,
    NANOGPT,
    OPENAI,
)

PREFIX = "transformer."


def state_of(naming, prefix=PREFIX):
    return to_state_dict(random_params(TINY), naming, prefix)


SHARED = state_of(NANOGPT)  # as minGPT and build-nanogpt have it, too
UNTOLD = {name: np.ones((5, 7)) for name in SHARED}  # of no shape that tells


@pytest.mark.parametrize(
    ("naming", "prefix"),
    [
        (HUGGING_FACE, ""),
        (HUGGING_FACE, PREFIX),
        (LLMS_FROM_SCRATCH, ""),
        (LLMS_FROM_SCRATCH_FAST, ""),
        (FLAX, PREFIX),
        (OPENAI, "model/"),
    ],
)
def test_tensors_of_its_own_tell_a_naming(naming, prefix):
    state = state_of(naming, prefix)
    assert detect_naming(state) == (naming, prefix)
    convert_state_dict(state, TINY, detect_naming(state))


@pytest.mark.parametrize("naming", [HUGGING_FACE, NANOGPT, MINGPT])
def test_a_hint_or_the_user_decides_between_those_that_look_alike(naming):
    for state in (SHARED, UNTOLD):
        assert detect_naming(state, hint=naming.key) == (naming, PREFIX)
        assert detect_naming(state, naming=naming.key) == (naming, PREFIX)
        found = detect_naming(state, naming=naming.key, hint="nanogpt")
        assert found == (naming, PREFIX)


def test_those_that_compute_otherwise_are_refused_with_all_candidates():
    with pytest.raises(
        WeightsError, match=r"nanoGPT and minGPT.*naming='nanogpt' or naming='mingpt'"
    ):
        detect_naming(SHARED)
    with pytest.raises(WeightsError, match=r"naming='hf' or .* or naming='mingpt'"):
        detect_naming(UNTOLD)


@pytest.mark.parametrize("extra", ["score.weight", "transformer.h.0.attn.masked_bias"])
def test_what_only_hugging_face_has_tells_it(extra):
    state = UNTOLD | {extra: np.ones(1)}
    assert detect_naming(state) == (HUGGING_FACE, PREFIX)
    assert detect_naming(state, hint="nanogpt") == (HUGGING_FACE, PREFIX)


def test_no_bias_tells_nanogpt():
    state = {name: x for name, x in SHARED.items() if not name.endswith(".bias")}
    for extra in ("lm_head.weight", "transformer.h.0.attn.bias"):
        assert detect_naming(state | {extra: np.ones(1)}) == (NANOGPT, PREFIX)
    # a single bias of a layer, and it may be either
    with pytest.raises(WeightsError, match="naming='nanogpt'"):
        detect_naming(state | {"transformer.ln_f.bias": np.ones(1)})


def test_a_naming_that_the_names_are_not_is_refused():
    with pytest.raises(WeightsError, match=r"naming='openai': .* 0 of the known"):
        detect_naming(SHARED, naming="openai")
    with pytest.raises(WeightsError, match="'gpt' is not one of hf, llms-from-scratch"):
        detect_naming(SHARED, naming="gpt")


def test_no_naming_and_two_namings_are_refused():
    with pytest.raises(WeightsError, match="named like 0 of the known namings"):
        detect_naming({"encoder.layer.0.weight": np.ones(1)})
    both = state_of(HUGGING_FACE, "") | state_of(LLMS_FROM_SCRATCH, "")
    with pytest.raises(WeightsError, match="named like"):
        detect_naming(both)


def test_every_naming_has_a_key_of_its_own():
    assert sorted(naming.key for naming in NAMINGS) == sorted(config.NAMINGS)


@pytest.mark.parametrize("wrapper", ["", "module.", "a.b_c.", "gpt2.model._orig_mod."])
@pytest.mark.parametrize("naming", [HUGGING_FACE, LLMS_FROM_SCRATCH, NANOGPT])
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_whatever_holds_a_model_is_taken_off_its_names(naming, prefix, wrapper):
    prefix = prefix if prefix in naming.prefixes else ""
    state = state_of(naming, prefix)
    wrapped = {wrapper + name: value for name, value in state.items()}
    others = {"head.weight": np.ones(3)} if wrapper else {}
    inner, taken, outside = unwrap(wrapped | others)
    assert (inner, taken, outside) == (state, wrapper, tuple(others))


def test_two_models_in_a_file_are_refused_by_name():
    state = state_of(HUGGING_FACE)
    both = {f"{who}.{k}": v for who in ("actor", "critic") for k, v in state.items()}
    with pytest.raises(WeightsError, match=r"2 models, .* 'actor\.', 'critic\.'"):
        unwrap(both)
