"""Turn a pretrained GPT-2 into a text classifier, in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpt2_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from gpt2_jax.config import (
        AdaptConfig,
        DataConfig,
        FinetuneConfig,
        GPT2Config,
        TrainConfig,
    )
    from gpt2_jax.config.sweep import SweepConfig
    from gpt2_jax.engine.optimizer import create_optimizer
    from gpt2_jax.engine.param_labels import label_params
    from gpt2_jax.engine.steps import create_train_state, train_step
    from gpt2_jax.inference.classifier import Classifier
    from gpt2_jax.model.gpt2 import GPT2, to_classifier
    from gpt2_jax.sweeps.folds import cross_validate
    from gpt2_jax.sweeps.sweep import sweep
    from gpt2_jax.training.adapt import adapt
    from gpt2_jax.training.callbacks import Callback
    from gpt2_jax.training.estimator import GPT2Classifier
    from gpt2_jax.training.finetune import finetune
    from gpt2_jax.training.results import Results
    from gpt2_jax.weights.pretrained import load_pretrained
    from gpt2_jax.workdir.memo import Memo

__all__ = [
    "GPT2",
    "AdaptConfig",
    "Callback",
    "Classifier",
    "DataConfig",
    "FinetuneConfig",
    "GPT2Classifier",
    "GPT2Config",
    "Memo",
    "Results",
    "SweepConfig",
    "TrainConfig",
    "adapt",
    "create_optimizer",
    "create_train_state",
    "cross_validate",
    "finetune",
    "label_params",
    "load_pretrained",
    "sweep",
    "to_classifier",
    "train_step",
]

_HOMES = {
    "GPT2": "gpt2_jax.model.gpt2",
    "AdaptConfig": "gpt2_jax.config",
    "Callback": "gpt2_jax.training.callbacks",
    "Classifier": "gpt2_jax.inference.classifier",
    "DataConfig": "gpt2_jax.config",
    "FinetuneConfig": "gpt2_jax.config",
    "GPT2Classifier": "gpt2_jax.training.estimator",
    "GPT2Config": "gpt2_jax.config",
    "Memo": "gpt2_jax.workdir.memo",
    "Results": "gpt2_jax.training.results",
    "SweepConfig": "gpt2_jax.config.sweep",
    "TrainConfig": "gpt2_jax.config",
    "adapt": "gpt2_jax.training.adapt",
    "create_optimizer": "gpt2_jax.engine.optimizer",
    "create_train_state": "gpt2_jax.engine.steps",
    "cross_validate": "gpt2_jax.sweeps.folds",
    "finetune": "gpt2_jax.training.finetune",
    "label_params": "gpt2_jax.engine.param_labels",
    "load_pretrained": "gpt2_jax.weights.pretrained",
    "sweep": "gpt2_jax.sweeps.sweep",
    "to_classifier": "gpt2_jax.model.gpt2",
    "train_step": "gpt2_jax.engine.steps",
}


def __getattr__(name: str) -> Any:
    # jax takes a second to import, and a message about a missing file should not.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
