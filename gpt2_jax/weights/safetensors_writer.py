"""`.safetensors` files that PyTorch's tools take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from gpt2_jax.weights.safetensors_file import DIGEST, digest


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], *, alone: bool = False
) -> None:
    """Write tensors; with their hash in it where nothing else will tell it."""
    path.touch()
    mode = path.stat().st_mode  # as the umask has it; save_file makes files private
    # transformers refuses files that do not say that they are PyTorch's.
    about = {"format": "pt"}
    if alone:
        about[DIGEST] = digest(tensors)
    safetensors.numpy.save_file(dict(tensors), path, about)
    path.chmod(mode)
