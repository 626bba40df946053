"""Logits of texts of any lengths, in batches of like length, or packed.

Shapes: `N` texts, `B` batch, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.engine.packing import call_tokens
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.widths import by_length, by_tokens, filled
from gpt2_jax.progress import bar


def logits_by_length(
    predict: Callable[[np.ndarray, int], Array],
    texts: Texts,
    rows: Int[np.ndarray, " N"],
    *,
    num_devices: int = 1,
    poll: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "N C"]:
    """Return float32 logits in the order of `rows` of `texts`.

    Args:
        predict: the logits of rows [B], padded to a width, before they are done; what
            stands behind them is ignored.
        num_devices: which share each batch.
        poll: called between batches; what it raises ends the scoring.
    """
    pending = []
    for chosen, batch, width in batches_to_score(texts, rows, num_devices):
        poll()
        pending.append((chosen, predict(batch, width)))
    done = []
    with bar(len(rows), "evaluation", "texts") as shown:
        for chosen, logits in pending:
            poll()
            done.append(np.asarray(logits)[: len(chosen)])
            shown.update(len(chosen))
    order = np.concatenate([chosen for chosen, _ in pending])
    return np.concatenate(done)[np.argsort(order)]


def batches_to_score(
    texts: Texts, rows: Int[np.ndarray, " N"], num_devices: int
) -> Iterator[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " B"], int]]:
    """Yield batches of all `rows`: which of them, what is scored, and its width."""
    lengths = texts.lengths[rows]
    if texts.packs:
        batches = by_tokens(lengths, texts.widths, texts.pack_size)
    else:
        most_tokens = call_tokens(jax.default_backend()) * num_devices
        batches = by_length(lengths, texts.widths, most_tokens)
    for chosen, width, size in batches:
        yield chosen, filled(rows[chosen], size), width
