"""How many texts a batch may have."""

from __future__ import annotations

# Few, because each is compiled for each width; a batch that is three quarters full is
# filled up with its last text.
SIZES = (1, 2, 4, 8, 16)


def sizes(width: int, batch_tokens: int) -> list[int]:
    """Return the sizes of batches of texts that are padded to `width` tokens.

    Wide texts go alone: they gain nothing from company.
    """
    return [size for size in SIZES if size == 1 or size * width <= batch_tokens]


def size_for(waiting: int, largest: int) -> int:
    """Return the largest size that `waiting` texts fill by three quarters."""
    return max(s for s in SIZES if s <= largest and 3 * s <= 4 * waiting)


def filled(count: int) -> int:
    """Return the size that `count` texts are filled up to."""
    return min(size for size in SIZES if size >= count)
