"""A layout of weights, and the small model that is written in it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

TOKENS = np.random.default_rng(0).integers(0, 61, (2, 9))
SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "n_positions": 24,
    "n_embd": 12,
    "n_layer": 3,
    "n_head": 2,
}

# Writes the files into a folder; returns PyTorch's logits of TOKENS, or None where
# what is written is no GPT-2 that can be read.
Write = Callable[[Path], Any]


@dataclasses.dataclass(frozen=True)
class Layout:
    name: str
    writer: str  # the distribution that wrote it, or whose layout it is
    write: Write
    path: str = "."  # what a user gives, below the folder
    refused: str | None = None  # a regex of what a refusal must say
    told: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """The writer with its version, where it is installed."""
        try:
            return f"{self.writer} {importlib.metadata.version(self.writer)}"
        except importlib.metadata.PackageNotFoundError:
            return self.writer


LAYOUTS: list[Layout] = []


def layout(
    name: str, writer: str, *, path: str = ".", refused: str | None = None, **told: Any
) -> Callable[[Write], Write]:
    """Register a function that writes a layout."""

    def register(write: Write) -> Write:
        LAYOUTS.append(Layout(name, writer, write, path, refused, told))
        return write

    return register


def shaken(model: Any) -> Any:
    """Give a model weights without zeros or ones, so that a mix-up shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def logits(model: Any) -> np.ndarray:
    """Return what a model of PyTorch says of TOKENS."""
    with torch.no_grad():
        out = model(torch.tensor(TOKENS))
    out = out[0] if isinstance(out, tuple) else getattr(out, "logits", out)
    return out.float().numpy()


def trunk_logits(model: Any) -> np.ndarray:
    """Return what a model without a language head says, by its embedding."""
    inner = getattr(model, "transformer", model)
    with torch.no_grad():
        hidden = inner(torch.tensor(TOKENS)).last_hidden_state
        return (hidden @ inner.wte.weight.T).float().numpy()
