"""Compiled programs, kept from run to run."""

from __future__ import annotations

import argparse
import os
import sys

import jax

from gpt2_jax.errors import DeviceError
from gpt2_jax.storage.download import cache_dir


def keep_compiled_programs() -> None:
    """Read and write compiled programs in the user's cache folder.

    JAX_COMPILATION_CACHE_DIR names another one. Must come before the first compilation.
    Each Python and jax has its own: where one packs what the other cannot read, both
    would warn for ever.

    Raises:
        DeviceError: there is no such folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        folder = cache_dir() / f"compiled-{python}-jax{jax.__version__}"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # The programs of a small model compile in tenths of seconds, but there are dozens.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def set_up_compilation(arguments: argparse.Namespace) -> None:
    """Do so unless `--no-compilation-cache` was given."""
    if arguments.no_compilation_cache:
        return
    try:
        keep_compiled_programs()
    except DeviceError as error:
        print(f"gpt2-jax: compiled programs are not kept: {error}", file=sys.stderr)
