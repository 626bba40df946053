"""Compilers of accelerators that are installed where there is no accelerator."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
from pathlib import Path

# The start of a plugin's name, and files that the driver of its devices makes;
# /dev/dxg is that of Windows' Linux.
_DRIVERS = {
    "xla_cuda": ("nvidiactl", "nvhost-gpu", "nvgpu", "dxg"),
    "xla_rocm": ("kfd", "dxg"),
    "libtpu": ("accel*", "vfio/[0-9]*"),
}


def leave_out_absent(devices: Path = Path("/dev")) -> None:
    """Keep jax from starting what `gpt2-jax check` compiles for, where it is not there.

    It would say so at length in every command. Where there is any accelerator, a
    plugin not known here or a JAX_PLATFORMS of the user's, all is left as it is.
    """
    plugins = _plugins()
    drivers = [
        files
        for name in plugins
        for start, files in _DRIVERS.items()
        if name.startswith(start)
    ]
    if not plugins or os.environ.get("JAX_PLATFORMS") or len(drivers) < len(plugins):
        return
    if not any(any(devices.glob(file)) for files in drivers for file in files):
        os.environ["JAX_PLATFORMS"] = "cpu"


def _plugins() -> list[str]:
    """Return the names of the modules that jax would start."""
    found = importlib.util.find_spec("jax_plugins")
    places = [] if found is None else list(found.submodule_search_locations or ())
    names = [module.name for module in pkgutil.iter_modules(places)]
    if importlib.util.find_spec("libtpu") is not None:
        names.append("libtpu")
    return names
