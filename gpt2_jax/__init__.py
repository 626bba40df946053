"""Turn a pretrained GPT-2 into a text classifier, in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpt2_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from gpt2_jax.config import GPT2Config
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.model.gpt2 import GPT2, to_classifier
    from gpt2_jax.training.finetune import finetune
    from gpt2_jax.weights.pretrained import load_pretrained

__all__ = [
    "GPT2",
    "Classifier",
    "GPT2Config",
    "finetune",
    "load_pretrained",
    "to_classifier",
]

_HOMES = {
    "GPT2": "gpt2_jax.model.gpt2",
    "Classifier": "gpt2_jax.inference.classifier",
    "GPT2Config": "gpt2_jax.config",
    "finetune": "gpt2_jax.training.finetune",
    "load_pretrained": "gpt2_jax.weights.pretrained",
    "to_classifier": "gpt2_jax.model.gpt2",
}


def __getattr__(name: str) -> Any:
    # jax takes a second to import, and a message about a missing file should not.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
