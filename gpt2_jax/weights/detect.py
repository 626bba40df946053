"""Which naming a file has, and what stands around the model in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.naming import Naming
from gpt2_jax.weights.rules import HUGGING_FACE, NAMINGS, NANOGPT

StateDict = Mapping[str, np.ndarray]

COMPILED = "_orig_mod."  # torch.compile puts it before every name


# What only Hugging Face's GPT-2 has, of those that share the names of `c_attn`.
_HUGGING_FACE_ONLY = r"score\.weight|(transformer\.)?h\.\d+\.attn\.masked_bias"

_ANY_BIAS = r"(transformer\.)?(h\.\d+\.)?(ln_\w|attn\.c_\w+|mlp\.c_\w+)\.bias"


def unwrap(state: StateDict) -> tuple[StateDict, str, tuple[str, ...]]:
    """Return the model's tensors without the prefix of what holds it, and that prefix.

    The third are the names of the tensors that do not have the prefix: they are of
    something else that the file holds beside the model.

    Raises:
        WeightsError: several models, or one that is named in two ways.
    """
    wrappers = {match[1] for name in state for match in _marked(name)}
    if len(wrappers) > 1:
        named = ", ".join(repr(wrapper) for wrapper in sorted(wrappers))
        raise WeightsError(
            f"holds {len(wrappers)} models, whose tensors begin with {named}; save one "
            "of them alone"
        )
    wrapper = wrappers.pop() if wrappers else ""
    inner = {
        name.removeprefix(wrapper): value
        for name, value in state.items()
        if name.startswith(wrapper)
    }
    outside = [name for name in state if not name.startswith(wrapper)]
    if any(name in inner for name in outside):
        raise WeightsError(f"holds tensors both with and without {wrapper}")
    if any(COMPILED in name for name in inner):
        raise WeightsError(f"holds tensors both with and without {COMPILED}")
    return inner, wrapper, tuple(outside)


def _marked(name: str) -> Iterator[re.Match[str]]:
    """Yield how a name ends as a naming's marker; group 1 is what stands before it."""
    for naming in NAMINGS:
        longest_first = sorted(naming.prefixes, key=len, reverse=True)
        prefixes = "|".join(map(re.escape, longest_first))
        if match := re.fullmatch(rf"((?:.+?\.)??)(?:{prefixes}){naming.marker}", name):
            yield match


def detect_naming(
    state: StateDict, *, naming: str | None = None, hint: str | None = None
) -> tuple[Naming, str]:
    """Return the naming of a file, told by its tensors, and the prefix.

    Several programs write `transformer.h.0.attn.c_attn.weight`. It is Hugging Face's if
    there is a `score` or a `masked_bias`; else `hint` decides, which is what stands
    beside the tensors; else that Hugging Face keeps it [D, 3D] and the others [3D, D].
    Of these it is nanoGPT's if there is not one bias. `naming` is the user's word and
    overrides all this.

    Raises:
        WeightsError: no naming, or several of them, match.
    """
    known = [each.key for each in NAMINGS]
    if naming is not None and naming not in known:
        raise WeightsError(f"naming={naming!r} is not one of {', '.join(known)}")
    found = [
        (each, prefix)
        for each in NAMINGS
        for prefix in each.prefixes
        if any(re.fullmatch(re.escape(prefix) + each.marker, name) for name in state)
    ]
    alike = len({each.marker for each, _ in found}) == 1
    if naming is not None:
        found = [match for match in found if match[0].key == naming]
    elif alike and len(found) > 1:
        found = _told(state, found, hint)
    if len(found) == 1:
        return found[0]
    if found and alike:
        *others, last = [each for each, _ in found]
        keys = [f"naming={each.key!r}" for each, _ in found]
        raise WeightsError(
            f"the names fit {', '.join(each.title for each in others)} and "
            f"{last.title}, which compute otherwise, and nothing tells which of them "
            f"it is; give {' or '.join(keys)}"
        )
    titles = ", ".join(each.title for each in NAMINGS)
    asked = f"naming={naming!r}: " if naming else ""
    raise WeightsError(
        f"{asked}the tensors are named like {len(found)} of the known namings "
        f"({titles}); only GPT-2 is read, by one of them; first names: "
        f"{', '.join(sorted(state)[:5]) or 'none'}"
    )


def _told(
    state: StateDict, found: list[tuple[Naming, str]], hint: str | None
) -> list[tuple[Naming, str]]:
    """Return those of `found` that the file may be."""
    if any(re.fullmatch(_HUGGING_FACE_ONLY, name) for name in state):
        hint = HUGGING_FACE.key
    if any(each.key == hint for each, _ in found):
        return [match for match in found if match[0].key == hint]
    lies = {lies for match in found if (lies := _transposed(state, *match)) is not None}
    found = [match for match in found if not lies or match[0].transposed in lies]
    if not any(re.fullmatch(_ANY_BIAS, name) for name in state):
        # bias=False; the layers of the others all have one
        return [match for match in found if match[0] is NANOGPT] or found
    return found


def _transposed(state: StateDict, naming: Naming, prefix: str) -> bool | None:
    """Does `c_attn` lie as [3D, D]? None: as neither of the two."""
    for name, value in state.items():
        if re.fullmatch(re.escape(prefix) + naming.marker, name) and value.ndim == 2:
            rows, columns = value.shape
            if 3 * rows == columns or rows == 3 * columns:
                return rows > columns
    return None
