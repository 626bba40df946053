"""Turn a pretrained GPT-2 into a text classifier, in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2_jax.config import GPT2Config
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.model import GPT2, to_classifier
    from gpt2_jax.training.loop import finetune
    from gpt2_jax.weights.pretrained import load_pretrained

__version__ = "0.1.0"
__all__ = [
    "GPT2",
    "Classifier",
    "GPT2Config",
    "finetune",
    "load_pretrained",
    "to_classifier",
]

_HOMES = {
    "GPT2": "gpt2_jax.model",
    "Classifier": "gpt2_jax.inference.classifier",
    "GPT2Config": "gpt2_jax.config",
    "finetune": "gpt2_jax.training.loop",
    "load_pretrained": "gpt2_jax.weights.pretrained",
    "to_classifier": "gpt2_jax.model",
}


def __getattr__(name: str) -> Any:
    # jax takes a second to import, and a message about a missing file should not.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
