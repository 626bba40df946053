"""What a pickle holds beside tensors: described here, and neither imported nor made."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

# Whose objects are made by a call in a pickle; others are made as new objects alone.
_CALLED = re.compile(
    r"__main__\.\w+|argparse\.Namespace|pathlib(\._local)?\.\w*Path"
    r"|collections\.(defaultdict|Counter|deque)|copy_reg\._reconstructor"
    r"|(__builtin__|builtins)\.(set|frozenset|complex|slice|x?range|bytearray)"
    r"|_codecs\.encode|datetime\.\w+|torch\.(device|Size)|transformers\.[\w.]+"
    r"|numpy\.(dtype|ndarray|_?core\.multiarray\.(scalar|_reconstruct))"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Name:
    """A class or a function that a pickle names."""

    name: str


@dataclasses.dataclass(eq=False)
class Inert:
    """An object of a class that a pickle names."""

    name: str
    state: Any = None  # its attributes, where the pickle tells them


def call(function: Name) -> Inert:
    """Return what stands for the result of a call.

    Raises:
        ValueError: of this one nothing harmless can be said.
    """
    if not _CALLED.fullmatch(function.name):
        raise ValueError(
            f"the pickle asks for {function.name}; only tensors are read, as "
            "torch.save(model.state_dict(), path) writes them"
        )
    return Inert(function.name)
