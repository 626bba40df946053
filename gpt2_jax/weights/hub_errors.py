"""What huggingface_hub says that it cannot do, in one line and with the way."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from gpt2_jax.config import PRESETS
from gpt2_jax.errors import WeightsError, did_you_mean


@contextlib.contextmanager
def in_words(repo: str, revision: str, forbidden: str | None) -> Generator[None]:
    """Turn what huggingface_hub raises into a WeightsError.

    Raises:
        WeightsError: in the place of another error.
    """
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # what it warns of is said here, or no news
    try:
        yield
    except WeightsError:
        raise
    # Those of its HTTP client are no OSErrors, and the client changes with the version.
    except Exception as error:
        said, meant = _said(error, revision, forbidden), did_you_mean(repo, PRESETS)
        raise WeightsError(f"{repo}: {said}{meant}") from error
    finally:
        logging.set_verbosity(before)


def _said(error: Exception, revision: str, forbidden: str | None) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "its owner asks for conditions to be accepted: do so on its page on the "
            "hub, and then log in with hf auth login, or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "no such file or folder, and no such model on the hub; for a private one "
            "log in with hf auth login, or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it"
    if isinstance(error, errors.HFValidationError):
        return "no such file or folder, and no name of a model on the hub"
    if forbidden is not None and isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "no such file or folder, and no such model in the cache of the hub; "
            f"{forbidden} forbids to download it"
        )
    reason = error.__cause__ or error
    first = next(filter(None, map(str.strip, str(reason).splitlines())), "")
    return (
        "no such file or folder, and it could not be had from the hub: "
        f"{type(reason).__name__}{first and ': '}{first}"
    )
