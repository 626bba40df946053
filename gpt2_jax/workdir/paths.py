"""Where a run is written, and where what it reads lies."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

from gpt2_jax.data.content import MEMORY, NAMED, STDIN
from gpt2_jax.errors import UserError
from gpt2_jax.storage.bucket import is_url
from gpt2_jax.storage.home import expanded
from gpt2_jax.workdir.identity import AnyConfig

_FILES = (
    *("source", "labels_file", "label_names", "corrections"),
    *("test_data", "test_labels_file"),
)


def chosen_workdir(workdir: str | Path | None) -> str | Path:
    """Return the bucket's URL, or the folder; None: a new one, which is made.

    Raises:
        UserError: it names none.
    """
    if workdir is None:
        return new_workdir()
    if not str(workdir).strip():
        raise UserError(f"--workdir {str(workdir)!r} names no folder; omit it for one")
    return str(workdir) if is_url(workdir) else expanded(workdir)


def new_workdir() -> Path:
    """Make a folder under `checkpoints/` that nobody else has; it has the time's name.

    Raises:
        UserError: it cannot be written.
    """
    name = time.strftime("run-%Y%m%d-%H%M%S")
    for number in itertools.chain([""], map("-{}".format, itertools.count(2))):
        folder = Path("checkpoints") / f"{name}{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not Path("checkpoints").is_dir():
                raise UserError("checkpoints: no folder; choose a --workdir") from None
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}); choose a --workdir"
            ) from error
    raise AssertionError("numbers do not end")


def absolute(config: AnyConfig) -> AnyConfig:
    """Return `config` with whole paths: it names the same files from any folder."""
    data, layout = config.data, config.layout
    paths = {name: _absolute(getattr(data, name)) for name in _FILES}
    weights = str(config.weights)
    if weights != "mini" and Path(weights).exists():
        weights = str(Path(weights).absolute())
    data = dataclasses.replace(data, **paths)
    layout = dataclasses.replace(layout, tokenizer=_absolute(layout.tokenizer))
    return dataclasses.replace(config, data=data, layout=layout, weights=weights)


def _absolute(source: Any) -> Any:
    if isinstance(source, tuple):
        return tuple(map(_absolute, source))
    if source is None or source in (*NAMED, STDIN, MEMORY) or is_url(source):
        return source
    return str(Path(source).absolute())
