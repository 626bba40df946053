"""Print the API reference, made from signatures and docstrings.

python docs/make_api.py > docs/api.md
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from gpt2_jax.config.fields import option_of

PUBLIC = {
    "gpt2_jax": (
        "load_pretrained",
        "to_classifier",
        "finetune",
        "Results",
        "Memo",
        "Callback",
        "sweep",
        "cross_validate",
        "adapt",
        "Classifier",
        "GPT2Classifier",
        "GPT2",
        "GPT2Config",
        "label_params",
        "create_optimizer",
        "create_train_state",
        "train_step",
        "FinetuneConfig",
        "AdaptConfig",
        "DataConfig",
        "TrainConfig",
        "SweepConfig",
    ),
    "gpt2_jax.sweeps.run": ("Swept", "Finished"),
    "gpt2_jax.training.adapt": ("Adapted",),
    "gpt2_jax.training.callbacks": ("RunInfo",),
    "gpt2_jax.training.trackers": ("TensorBoard", "WandB"),
    "gpt2_jax.inference.classifier": ("Prediction",),
    "gpt2_jax.inference.explain": ("Word",),
    "gpt2_jax.inference.gradients": ("Attribution",),
    "gpt2_jax.errors": ("UserError", "DeviceError", "DataError", "WeightsError"),
}
# What flax gives every module is not ours to describe.
_GPT2_METHODS = ("__call__", "trunk", "top")


def entries() -> Iterator[tuple[str, Any]]:
    """Yield the dotted name of each public thing and the thing itself."""
    for module, names in PUBLIC.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            yield f"{module}.{name}", value
            if inspect.isclass(value):
                yield from _members(f"{module}.{name}", value)


def _members(owner: str, cls: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(cls).items():
        if owner == "gpt2_jax.GPT2" and name not in _GPT2_METHODS:
            continue
        if name.startswith("_") and name != "__call__":
            continue
        if value.__doc__ is None and any(hasattr(base, name) for base in cls.__bases__):
            continue  # described there
        if isinstance(value, (property, classmethod)) or inspect.isfunction(value):
            yield f"{owner}.{name}", value


def signature(value: Any) -> str:
    """Return the arguments of a function, or the fields of a dataclass."""
    if isinstance(value, property):
        return f" -> {inspect.signature(value.fget).return_annotation}"
    if isinstance(value, classmethod):
        value = value.__func__
    if inspect.isclass(value):
        return ""
    found = inspect.signature(value)
    kept = [p for name, p in found.parameters.items() if name not in ("self", "cls")]
    # Annotations are strings, which are shown in quotes; defaults keep theirs.
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(found.replace(parameters=kept)))
    return re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", shown)


def describe(name: str, value: Any) -> str:
    """Return the Markdown of one entry."""
    depth = "##" if name.rpartition(".")[0] in PUBLIC else "###"
    lines = [f"{depth} `{name}`"]
    if shown := signature(value):
        lines.append(f"```\n{name.rpartition('.')[2]}{shown}\n```")
    lines.append(_markdown(inspect.getdoc(value) or ""))
    if dataclasses.is_dataclass(value) and name != "gpt2_jax.GPT2":
        lines.append(_fields(value))
    return "\n\n".join(lines)


def _markdown(docstring: str) -> str:
    """Make lists of the sections of a docstring."""
    lines = []
    for line in docstring.splitlines():
        if line in ("Args:", "Returns:", "Raises:"):
            line = f"{line}\n"
        elif line.startswith("        "):
            line = f"  {line.strip()}"
        elif line.startswith("    "):
            line = f"- {line.strip()}"
        lines.append(line)
    return "\n".join(lines)


def _fields(cls: Any) -> str:
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default = f"`{field.default!r}`"
        if field.default is dataclasses.MISSING:
            default = ""
        elif dataclasses.is_dataclass(field.default):
            default = f"`{field.type}()`"
        kind = str(field.type).replace("|", r"\|")
        if typing.get_origin(hints[field.name]) is typing.Literal:
            kind = ", ".join(map(repr, typing.get_args(hints[field.name])))
        facts = option_of(field)
        unset = f"; None: {facts.unset}" if facts.unset else ""
        rows.append(f"| `{field.name}` | {kind} | {default} | {facts.help}{unset} |")
    return "\n".join(rows)


def reference() -> str:
    """Return the whole page."""
    head = (
        "# Python names\n\nMade by `python docs/make_api.py` from the docstrings. "
        "Shapes: `B` batch, `T`\ntokens, `D` embed_dim, `V` vocab_size, `C` classes, "
        "`N` texts."
    )
    return "\n\n".join([head, *(describe(*entry) for entry in entries())]) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
