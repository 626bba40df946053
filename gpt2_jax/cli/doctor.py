"""`gpt2-jax doctor`: what is installed, what it runs on, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt2_jax.errors import UserError
from gpt2_jax.version import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
# A module of each package of an extra.
_EXTRAS = {
    "report": ("matplotlib",),
    "data": ("pyarrow", "openpyxl"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "onnx": ("onnx", "onnxruntime"),
    "tensorboard": ("tensorboardX",),
    "wandb": ("wandb",),
    "gcs": ("gcsfs",),
}
_HOSTS = ("huggingface.co", "archive.ics.uci.edu")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `doctor`."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="versions, devices, memory, cache, network, and what to install",
        example="gpt2-jax doctor --offline",
    )
    parser.add_argument("--offline", action="store_true", help="ask no host")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_doctor(arguments: argparse.Namespace) -> int:
    """Tell; 3 where no model could run, else 0."""
    found = examine(offline=arguments.offline)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            lines = value.items() if isinstance(value, dict) else [("", value)]
            for key, told in lines:
                print(f"{name}{' ' * bool(key)}{key}: {told}")
    return 0 if found["devices"] else 3


def examine(*, offline: bool) -> dict[str, Any]:
    """Return what there is, in JSON's types."""
    return {
        "gpt2-jax": f"{__version__}, {Path(__file__).parents[1]}",
        "python": f"{platform.python_version()}, {sys.executable}",
        "system": f"{platform.platform()}, {os.cpu_count()} cores",
        "package": dict(_packages()),
        "devices": _devices(),
        "memory": _memory(),
        "disk": _free(Path.cwd()),
        "cache": _cache(),
        **({} if offline else {"network": {host: _reached(host) for host in _HOSTS}}),
        "extra": dict(_extras()),
    }


def _packages() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "missing: pip install gpt2-jax"


def _extras() -> Iterator[tuple[str, str]]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        told = f"missing {', '.join(missing)}: pip install 'gpt2-jax[{extra}]'"
        yield extra, told if missing else "installed"


def _devices() -> list[str]:
    import jax

    try:
        return [f"{d.platform}: {d.device_kind}" for d in jax.devices()]
    except RuntimeError as error:
        print(f"gpt2-jax: jax finds no device: {error}", file=sys.stderr)
        return []


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        free, all_ = (os.sysconf(f"SC_{n}_PAGES") for n in ("AVPHYS", "PHYS"))
    except (AttributeError, ValueError, OSError):  # not on every system
        return "unknown"
    return f"{page * free / 1e9:.1f} GB free of {page * all_ / 1e9:.1f} GB"


def _free(path: Path) -> str:
    usage = shutil.disk_usage(path)
    return f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB here"


def _cache() -> str:
    from gpt2_jax.storage.download import cache_dir

    try:
        folder = cache_dir()
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    except (UserError, OSError) as error:
        return str(error)
    return f"{folder}: {len(files)} files, {size / 1e6:.0f} MB"


def _reached(host: str) -> str:
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if proxy:
        return "behind a proxy, not asked"
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError as error:
        return f"not reached ({error.strerror or error}); what is cached is used"
    return "reached"
