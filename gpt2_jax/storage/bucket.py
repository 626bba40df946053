"""Runs and data in a bucket: `gs://...`, or whatever URL fsspec knows.

A run is written into a local folder as ever, and that folder is copied: what the bucket
has comes first, what a save or the end adds goes there at once. So atomic renames,
locks and checks stay those of a file system.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any

from gpt2_jax.errors import DeviceError, UserError, WeightsError

MANIFEST = "manifest.json"  # a step without it is none

_EXTRAS = {"gs": "gcs", "gcs": "gcs"}


def is_url(name: str | Path) -> bool:
    return "://" in str(name)


@dataclasses.dataclass
class Mirror:
    """A local folder and its copy at `url`."""

    url: str
    folder: Path
    _sent: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def pull(self) -> None:
        """Copy what is at `url`, and not in the folder, into it; and every manifest.

        Raises:
            WeightsError: it cannot be read.
        """
        with self._explain_errors("read"):
            system, root = open_url(self.url)
            system.invalidate_cache()
            for path in system.find(root) if system.exists(root) else []:
                name = path.removeprefix(root).lstrip("/")
                target = self.folder / name
                if not target.exists() or target.name == MANIFEST:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    system.get_file(path, str(target))
                    self._sent[name] = _stamp(target)

    def push(self) -> None:
        """Make `url` what the folder is.

        At any moment the steps there that have a manifest are whole: it is the last
        file of a step to come, and the first to go.

        Raises:
            WeightsError: it cannot be written.
        """
        with self._explain_errors("written"):
            system, root = open_url(self.url)
            here = {
                path.relative_to(self.folder).as_posix(): _stamp(path)
                for path in self.folder.rglob("*")
                if path.is_file() and not _is_private(path.relative_to(self.folder))
            }
            for name in sorted(self._sent.keys() - here.keys(), key=_manifests_first):
                system.rm_file(f"{root}/{name}")
                del self._sent[name]
            changed = [name for name in here if self._sent.get(name) != here[name]]
            for name in sorted(changed, key=_manifests_first, reverse=True):
                target = PurePosixPath(root, name)
                system.makedirs(str(target.parent), exist_ok=True)
                system.put_file(str(self.folder / name), str(target))
                self._sent[name] = here[name]

    @contextlib.contextmanager
    def _explain_errors(self, verb: str) -> Generator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # every store has its own
            reason = (str(error).splitlines() or [repr(error)])[0][:200]
            raise WeightsError(
                f"{self.url}: cannot be {verb} ({reason}); check the name and your "
                "access, and go on with --resume"
            ) from error


@contextlib.contextmanager
def mirrored(url: str, *, writes: bool) -> Generator[Mirror]:
    """Yield a local folder that holds what `url` does; copy it back at the end.

    Of several processes one `writes`. Two trainers of one URL are not kept apart.

    Raises:
        WeightsError: the URL cannot be read or written.
        DeviceError: a package for it is missing.
    """
    with tempfile.TemporaryDirectory(prefix="gpt2-jax-") as folder:
        # A name of its own: reports and loggers show it.
        mirror = Mirror(url, Path(folder) / (PurePosixPath(url).name or "run"))
        if not writes:  # nobody else makes it, where no disk is shared
            mirror.folder.mkdir()
        mirror.pull()
        try:
            yield mirror
        finally:
            if writes and mirror.folder.exists():
                mirror.push()


def read_url(url: str, folder: Path, error: type[UserError]) -> Path:
    """Copy the file at `url` into `folder`, under its own name.

    Raises:
        error: it cannot be had.
        DeviceError: a package for it is missing.
    """
    system, path = open_url(url)
    target = folder / PurePosixPath(path).name
    try:
        system.get_file(path, str(target))
    except Exception as failure:  # every store has its own
        reason = (str(failure).splitlines() or [repr(failure)])[0][:200]
        raise error(f"{url}: cannot be read ({reason}); check the name") from failure
    return target


def open_url(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of `url`, and the path in it.

    Raises:
        DeviceError: the package for this kind of URL is not installed.
        UserError: there is no such kind.
    """
    import fsspec

    scheme = url.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        how = f"'gpt2-jax[{extra}]'" if extra else "what fsspec asks for"
        raise DeviceError(f"{url}: needs {how}: pip install {how} ({error})") from error
    except ValueError as error:
        raise UserError(f"{url}: {error}") from error
    return system, path.rstrip("/")


def _is_private(name: Path) -> bool:
    return any(
        part.startswith(".") or ".orbax-checkpoint-tmp" in part for part in name.parts
    )


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _manifests_first(name: str) -> tuple[bool, str]:
    return PurePosixPath(name).name != MANIFEST, name
