"""The head of a classifier that is trained further: classes stay, by their names."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from gpt2_jax.config import GPT2Config
from gpt2_jax.data.checks import shortened
from gpt2_jax.model.tree import Params
from gpt2_jax.weights.pretrained import Pretrained


def keep_head(
    pretrained: Pretrained, config: GPT2Config, params: Params, classes: Sequence[str]
) -> tuple[Params, str | None]:
    """Lay the trained columns of the classes that stay over the new head.

    `params` are those of `config` with a head drawn for `classes`. Returns them with
    what was kept, in words: None where `pretrained` has no head to keep.
    """
    if pretrained.config.num_classes is None:
        return params, None
    if reason := _unlike(pretrained, config):
        return params, f"its trained head is not kept: {reason}"
    old = pretrained.classes or ()
    same = [label for label in classes if label in old]
    if not same:
        told = f"its classes are {shortened(old)}" if old else "its classes are unknown"
        return params, f"its trained head is not kept: {told}"
    here = jnp.asarray([list(classes).index(label) for label in same])
    there = jnp.asarray([old.index(label) for label in same])
    head, trained = params["out_head"], pretrained.params["out_head"]
    head = {
        name: head[name].at[..., here].set(jnp.asarray(trained[name])[..., there])
        for name in ("kernel", "bias")
    }
    return {**params, "out_head": head}, _told(old, classes)


def _unlike(pretrained: Pretrained, config: GPT2Config) -> str | None:
    """Return why the head of `pretrained` would read something else here."""
    theirs, problem = pretrained.config, pretrained.problem_type
    if problem not in (None, "single_label_classification"):
        return f"its problem_type is {problem}"
    if theirs.pool != config.pool:
        return f"it reads --pool {theirs.pool}, and this run {config.pool}"
    if theirs.causal != config.causal:
        return f"it was trained with --{'' if theirs.causal else 'no-'}causal-mask"
    return None


def _told(old: Sequence[str], classes: Sequence[str]) -> str:
    new = [label for label in classes if label not in old]
    gone = [label for label in old if label not in classes]
    kept = len(classes) - len(new)
    if not new and not gone:
        return f"its trained head is kept, all {kept} classes"
    told = f"its trained head is kept for {kept} classes"
    told += f"; new, not trained yet: {shortened(new)}" if new else ""
    return told + (
        f"; left out, as no text has them: {shortened(gone)}" if gone else ""
    )
