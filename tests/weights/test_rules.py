"""The naming is told by names; where they do not tell, nobody guesses."""

from __future__ import annotations

import pytest
from helpers import TINY, random_params

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import (
    HUGGING_FACE,
    LLMS_FROM_SCRATCH,
    NAMINGS,
    NANOGPT,
    OPENAI,
    detect_naming,
)


def names_of(naming, prefix):
    return list(to_state_dict(random_params(TINY), naming, prefix))


SHARED = names_of(NANOGPT, "transformer.")


@pytest.mark.parametrize(
    ("naming", "prefix"),
    [(HUGGING_FACE, ""), (LLMS_FROM_SCRATCH, ""), (OPENAI, "model/")],
)
def test_names_of_its_own_tell_a_naming(naming, prefix):
    assert detect_naming(names_of(naming, prefix)) == (naming, prefix)
    # and nothing beside the tensors, unless the user says so, overrides it
    for other in NAMINGS:
        found = detect_naming(names_of(naming, prefix), hint=other.key)
        assert found == (naming, prefix)


def test_shared_names_alone_are_refused_with_both_candidates():
    assert set(SHARED) == set(names_of(HUGGING_FACE, "transformer."))
    for names in (SHARED, [*SHARED, "lm_head.weight", "transformer.h.0.attn.bias"]):
        with pytest.raises(
            WeightsError, match=r"Hugging Face and nanoGPT.*naming='hf'"
        ):
            detect_naming(names)


@pytest.mark.parametrize("extra", ["score.weight", "transformer.h.0.attn.masked_bias"])
def test_what_only_hugging_face_has_tells_it(extra):
    assert detect_naming([*SHARED, extra]) == (HUGGING_FACE, "transformer.")
    found = detect_naming([*SHARED, extra], hint="nanogpt")
    assert found == (HUGGING_FACE, "transformer.")


def test_no_bias_tells_nanogpt():
    names = [name for name in SHARED if not name.endswith(".bias")]
    for extra in ([], ["lm_head.weight"], ["transformer.h.0.attn.bias"]):
        assert detect_naming([*names, *extra]) == (NANOGPT, "transformer.")
    # a single bias of a layer, and it may be either
    with pytest.raises(WeightsError, match="naming='nanogpt'"):
        detect_naming([*names, "transformer.ln_f.bias"])


@pytest.mark.parametrize("naming", [HUGGING_FACE, NANOGPT])
def test_a_hint_or_the_user_decides_between_the_two(naming):
    assert detect_naming(SHARED, hint=naming.key) == (naming, "transformer.")
    assert detect_naming(SHARED, naming=naming.key) == (naming, "transformer.")
    found = detect_naming(SHARED, naming=naming.key, hint="nanogpt")
    assert found == (naming, "transformer.")


def test_a_naming_that_the_names_are_not_is_refused():
    with pytest.raises(WeightsError, match=r"naming='openai': .* 0 of the known"):
        detect_naming(SHARED, naming="openai")
    with pytest.raises(WeightsError, match="'gpt' is not one of hf, llms-from-scratch"):
        detect_naming(SHARED, naming="gpt")


def test_no_naming_and_two_namings_are_refused():
    with pytest.raises(WeightsError, match="named like 0 of the known namings"):
        detect_naming(["encoder.layer.0.weight"])
    both = [*names_of(HUGGING_FACE, ""), *names_of(LLMS_FROM_SCRATCH, "")]
    with pytest.raises(WeightsError, match="named like 2"):
        detect_naming(both)


def test_every_naming_has_a_key_of_its_own():
    assert len({naming.key for naming in NAMINGS}) == len(NAMINGS)
