"""What a pickle holds beside tensors: described here, and neither imported nor made."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

# Whose objects are made by a call in a pickle; others are made as new objects alone.
CALLED = (
    *("argparse.Namespace", "_codecs.encode", "copy_reg._reconstructor"),
    *("collections.Counter", "collections.defaultdict", "collections.deque"),
    *(
        f"{module}.{name}"
        for module in ("__builtin__", "builtins")
        for name in (
            *("bytearray", "complex", "frozenset", "range", "set", "slice", "xrange"),
        )
    ),
    *("numpy.dtype", "numpy.ndarray", "torch.Size", "torch.device"),
    *(
        f"numpy.{module}.multiarray.{name}"
        for module in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
)

# Likewise, as regexes: what has too many names, or any.
FAMILIES = (
    r"__main__\.\w+",
    r"datetime\.\w+",
    r"pathlib\.\w*Path",
    r"pathlib\._local\.\w*Path",
    r"transformers\.[\w.]+",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Name:
    """A class or a function that a pickle names."""

    name: str


@dataclasses.dataclass(eq=False)
class Inert:
    """An object of a class that a pickle names."""

    name: str
    # Its attributes, where the pickle tells them. They may hold one another, or the
    # same thing 2**60 times: no message repeats them.
    state: Any = dataclasses.field(default=None, repr=False)


def call(function: Name) -> Inert:
    """Return what stands for the result of a call.

    Raises:
        ValueError: of this one nothing harmless can be said.
    """
    name = function.name
    if name not in CALLED and not any(re.fullmatch(each, name) for each in FAMILIES):
        raise ValueError(
            f"the pickle asks for {name}; only tensors are read, as "
            "torch.save(model.state_dict(), path) writes them"
        )
    return Inert(name)
