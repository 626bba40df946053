"""What a run makes smaller: cross-entropy, or a loss of the caller's own.

Shapes: `B` batch, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.engine.devices import on_host
from gpt2_jax.errors import UserError

# (logits [B, C], labels [B]) -> the loss of each text [B]; the step weighs them
Loss = Callable[[Array, Array], Array]

_PROBES = 16


def cross_entropy(
    logits: Float[Array, "B C"], labels: Int[Array | np.ndarray, " B"]
) -> Float[Array, " B"]:
    """Return minus the log-probability of each label, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def loss_identity(loss: Loss, num_classes: int) -> list[float]:
    """Return what `loss` makes of logits that are always the same, to 4 digits.

    A name would not tell a loss from the same one with another constant.

    Raises:
        UserError: it does not return one number for each text.
    """
    logits = 2 * np.random.default_rng(0).standard_normal((_PROBES, num_classes))
    labels = np.arange(_PROBES, dtype=np.int32) % num_classes
    with on_host():
        found = loss(jnp.asarray(logits, jnp.float32), jnp.asarray(labels))
    if jnp.shape(found) != (_PROBES,) or not jnp.issubdtype(found.dtype, jnp.floating):
        kind = getattr(found, "dtype", type(found).__name__)
        raise UserError(
            f"loss=... must return a number for each text, float [{_PROBES}] for "
            f"logits [{_PROBES}, {num_classes}]; got {kind} {list(jnp.shape(found))}"
        )
    return [float(f"{value:.4g}") for value in np.asarray(found)]
