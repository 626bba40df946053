"""`.safetensors` files that PyTorch's tools take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    path.touch()
    mode = path.stat().st_mode  # as the umask has it; save_file makes files private
    # transformers refuses files that do not say that they are PyTorch's.
    safetensors.numpy.save_file(dict(tensors), path, {"format": "pt"})
    path.chmod(mode)
