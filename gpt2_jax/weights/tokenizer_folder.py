"""The tokenizer that lies beside weights, in the files of Hugging Face.

A byte-level BPE that works as GPT-2's, with a vocabulary of its own, is read; what it
asks for beyond that is honoured, or refused by its name. Where tokenizer.json and
tokenizer_config.json differ, libraries follow the one or the other: so that is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage.atomic import replacing
from gpt2_jax.storage.sealed import parse
from gpt2_jax.tokenizer import END_OF_TEXT_NAME, Tokenizer, gpt2
from gpt2_jax.weights import added_tokens, tokenizer_json
from gpt2_jax.weights.merges import Merges, check_merges, read_merges, tokens_of
from gpt2_jax.weights.tokenizer_json import TokenizerJson

VOCAB, MERGES = "vocab.json", "merges.txt"


SETTINGS, ROLES, ADDED = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

FILES = (tokenizer_json.NAME, VOCAB, MERGES, SETTINGS, ROLES, ADDED)

OTHERS = ("tokenizer.model", "spiece.model", "vocab.txt")

_MAX_BYTES = 64 << 20  # GPT-2's have 1 to 4 MB

_GPT2_CLASS = "GPT2Tokenizer"

_CLASSES = (_GPT2_CLASS, "PreTrainedTokenizer", "TokenizersBackend")


# Of tokenizer_config.json: what changes tokens, and the value that does not.
_PLAIN_SETTINGS = {
    "add_eos_token": False,
    "do_lower_case": False,
    "truncation_side": "right",
}


def read_tokenizer(folder: Path, only: Collection[str] = FILES) -> Tokenizer | None:
    """Read the tokenizer of a folder, from the files `only`; None: there is none in it.

    Raises:
        WeightsError: it is damaged, or it is no byte-level BPE as GPT-2's.
    """
    try:
        return from_files(read_files(folder, only))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(
            f"{folder}: its tokenizer cannot be used: {error}"
        ) from error


def read_files(folder: Path, only: Collection[str] = FILES) -> dict[str, bytes]:
    """Return the files of a folder that tell its tokenizer, by name.

    Raises:
        ValueError: one is too large, or they are of another kind of tokenizer.
        OSError: one cannot be read.
    """
    files: dict[str, bytes] = {}
    for name in FILES:
        if name in only and (folder / name).is_file():
            with (folder / name).open("rb") as file:
                files[name] = file.read(_MAX_BYTES + 1)
            if len(files[name]) > _MAX_BYTES:
                raise ValueError(f"{name} has more than {_MAX_BYTES:,} bytes")
    if not {tokenizer_json.NAME, VOCAB, MERGES} & {*files}:
        for name in OTHERS:
            if (folder / name).is_file():
                raise ValueError(f"{name} is of another kind than GPT-2's")
    return files


def write_files(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the files that a tokenizer was read from, as they were."""
    for name, content in tokenizer.files.items():
        with replacing(folder / name) as path:
            path.write_bytes(content)


def from_files(files: Mapping[str, bytes]) -> Tokenizer | None:
    """Return the tokenizer in the files of these names; None: there is none.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: as `read_tokenizer`.
    """
    settings = _object(files, SETTINGS)
    _check_settings(settings)
    library = None
    if tokenizer_json.NAME in files:
        library = tokenizer_json.read(_object(files, tokenizer_json.NAME))
    found = _vocabulary(files, library)
    if found is None:
        for field in ("add_bos_token", "add_prefix_space"):
            if settings.get(field):
                raise ValueError(f"{SETTINGS} sets {field}, without a vocabulary")
        return None
    vocab, merges = found
    tokens = tokens_of(vocab, merges)
    theirs = gpt2()
    same = list(tokens.items()) == list(theirs.tokens.items())
    if not same:
        check_merges(tokens, merges)
    roles = {**_object(files, ROLES), **settings}
    names = added_tokens.names_of_roles(roles)
    added = _added(files, library, settings, roles, vocab)
    controls = {END_OF_TEXT_NAME, *names.values()}
    special = {name: token.id for name, token in added.items()}
    special |= {name: vocab[name] for name in controls if name in vocab}
    own = Tokenizer(
        tokens,
        end_id=_end(names, special),
        special=special,
        searched=added_tokens.searched(
            added, controls, split_special=bool(settings.get("split_special_tokens"))
        ),
        bos_id=_bos(library, settings, names, special),
        prefix_space=_prefix_space(library, settings),
        pad_id=special.get(names.get("pad_token", "")),
        files=dict(files),
    )
    plain = own.bos_id is None and not own.prefix_space and not any(own.searched)
    ends = {own.end_id, own.pad_id} <= {theirs.end_id, None}
    return theirs if same and plain and ends else own


def _object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        return parse(files[name]) if name in files else {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _check_settings(settings: Mapping[str, Any]) -> None:
    if _class_of(settings).removesuffix("Fast") not in _CLASSES:
        raise ValueError(
            f"{SETTINGS}: tokenizer_class={_class_of(settings)!r} is not supported; "
            f"GPT-2's is {_GPT2_CLASS}"
        )
    for field, plain in _PLAIN_SETTINGS.items():
        if settings.get(field) not in (plain, None):
            raise ValueError(
                f"{SETTINGS}: {field}={settings[field]!r} is not supported"
            )


def _class_of(settings: Mapping[str, Any]) -> str:
    return settings.get("tokenizer_class") or _GPT2_CLASS


def _vocabulary(
    files: Mapping[str, bytes], library: TokenizerJson | None
) -> tuple[Mapping[str, int], Merges] | None:
    """Return the vocabulary and the merges of whichever files have them."""
    found = [] if library is None else [(library.vocab, library.merges)]
    if (VOCAB in files) != (MERGES in files):
        raise ValueError(f"there is only one of {VOCAB} and {MERGES}")
    if VOCAB in files:
        lines = files[MERGES].decode("utf-8").split("\n")
        lines = [line.removesuffix("\r") for line in lines]
        lines = [line for line in lines if line and not line.startswith("#version")]
        found.append((_object(files, VOCAB), read_merges(lines)))
    if len(found) == 2 and found[0] != found[1]:
        one, other = (list(tokens_of(*each).items()) for each in found)
        if one != other or found[0][1] != found[1][1]:
            raise ValueError(
                f"{tokenizer_json.NAME} is not the vocabulary of {VOCAB} and {MERGES}; "
                "remove what is not the model's"
            )
    return found[0] if found else None


def _added(
    files: Mapping[str, bytes],
    library: TokenizerJson | None,
    settings: Mapping[str, Any],
    roles: Mapping[str, Any],
    vocab: Mapping[str, int],
) -> dict[str, added_tokens.Added]:
    listed = list(library.added) if library else []
    others = added_tokens.further(settings, roles, _object(files, ADDED), listed, vocab)
    known = {entry["content"] for entry in listed}
    plain = {END_OF_TEXT_NAME, *added_tokens.names_of_roles(roles).values()}
    for entry in others if library else []:
        if entry["content"] not in known | plain:
            raise ValueError(
                f"the added token {entry['content']!r} is not in {tokenizer_json.NAME}"
            )
    return added_tokens.collect([*listed, *others], vocab)


def _prefix_space(library: TokenizerJson | None, settings: Mapping[str, Any]) -> bool:
    told = settings.get("add_prefix_space")
    if library is None:
        return bool(told)
    if told is None and _class_of(settings).startswith(_GPT2_CLASS):
        told = False  # this class sets it to its own default
    return _agreed("add_prefix_space", library.prefix_space, told)


def _bos(
    library: TokenizerJson | None,
    settings: Mapping[str, Any],
    names: Mapping[str, str],
    ids: Mapping[str, int],
) -> int | None:
    """Return the token before every text, None if there is none."""
    told, name = settings.get("add_bos_token"), names.get("bos_token", END_OF_TEXT_NAME)
    if library is not None:
        told = _agreed("add_bos_token", library.bos is not None, told)
        name = library.bos or name
    if not told:
        return None
    if name not in ids:
        raise ValueError(f"add_bos_token is set, but {name!r} has no id")
    return ids[name]


def _agreed(field: str, library: bool, told: object) -> bool:
    if told is not None and bool(told) != library:
        raise ValueError(
            f"{field} is {library} in {tokenizer_json.NAME} and {bool(told)} by "
            f"{SETTINGS}, and libraries follow the one or the other; make both say the "
            "same"
        )
    return library


def _end(names: Mapping[str, str], ids: Mapping[str, int]) -> int:
    roles = (names.get(f"{role}_token") for role in ("eos", "pad", "bos"))
    for name in (next(roles), END_OF_TEXT_NAME, *roles):
        if name is not None and name in ids:
            return ids[name]
    raise ValueError("it has no eos_token, which an empty text is read as")
