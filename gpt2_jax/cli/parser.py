"""argparse, with errors that help: whose usage, what was meant, whole flags only."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gpt2_jax.errors import did_you_mean

# What other programs call it.
_OTHERS = {
    "--lr": "--learning-rate",
    "--bs": "--batch-size",
    "--model": "--weights",
    "--dataset": "--data",
    "--train-file": "--data",
    "--test-file": "--test-data",
    "--num-epochs": "--epochs",
    "--num-train-epochs": "--epochs",
    "--output-dir": "--workdir",
    "--out": "--workdir",
    "--max-len": "--max-length",
    "--max-seq-length": "--max-length",
    "--dropout": "--dropout-rate",
    "--input": "--file",
    "--precision": "--target-precision",
    "--recall": "--target-recall",
}
_LONG = 80  # characters of what is unknown; a text may be among it
_REQUIRED = re.compile(" (is|are) required")
_CHOICE = re.compile(r"argument (.*): invalid choice: '(.*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser of whole flags, whose errors name the command and what was meant.

    `rewrite` changes the words before they are parsed; `intermixed` lets flags stand
    between operands of any number.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        example = settings.pop("example", None)
        epilog = settings.pop("epilog", None)
        told = [epilog] if epilog else []
        told += [f"example:\n  {example}"] if example else []
        super().__init__(
            *args,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="\n\n".join(told) or None,
            **settings,
        )
        self.rewrite: Callable[[list[str]], list[str]] = lambda words: words
        self.intermixed = False
        self._inside = False
        self._words: list[str] = []

    def parse_known_args(  # type: ignore[override]  # as in argparse, without overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if self._inside:  # a part of what stands below
            return super().parse_known_args(words, namespace)
        words = self._words = self.rewrite(words)
        if not self.intermixed:
            found, unknown = super().parse_known_args(words, namespace)
        else:
            self._inside = True
            try:
                parse = super().parse_known_intermixed_args
                found, unknown = parse(_marked(words), namespace)
            finally:
                self._inside = False
            for name, value in vars(found).items():
                setattr(found, name, _unmarked(value))
        if unknown:  # said here, where the command is known, and not by the root
            self.error(self._unknown(unknown))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        if _REQUIRED.search(message) and (wrong := self._wrong_flags()):
            message = self._unknown(wrong)  # which may be what was required
        if match := _CHOICE.fullmatch(message):
            name, value, known = match.groups()
            known = re.findall(r"[^', ]+", known)
            what = "command" if name == "COMMAND" else name
            message = f"{what}: unknown {value!r}; known: {', '.join(known)}"
            message += did_you_mean(value, known)
        usage = paint(self.usage_line(), "1", sys.stderr)
        error = paint(f"{self.prog}: error:", "1;31", sys.stderr)
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        advice = f"see {self.prog} --help"
        self.exit(2, f"{usage}\n{error} {line}\n{advice}\n")

    def format_usage(self) -> str:
        return f"{self.usage_line()}\n"

    def format_help(self) -> str:
        whole = super().format_help()
        # argparse lists every flag in the usage; the groups below do so, with words.
        return f"{self.usage_line()}\n\n{whole.partition(chr(10) * 2)[2]}"

    def usage_line(self) -> str:
        """Return the usage, flags that must be given and all operands, in one line."""
        words = [self.prog, "[FLAGS]"]
        for action in self._actions:
            name = action.metavar if isinstance(action.metavar, str) else action.dest
            if not action.option_strings:
                # argparse puts it there while it reads intermixed words
                optional = getattr(action, "save_nargs", action.nargs) == "*"
                words.append(f"[{name} ...]" if optional else name)
            elif action.required:
                shown = "{" + ",".join(map(str, action.choices or [name])) + "}"
                words.append(f"{action.option_strings[-1]} {shown}")
        for group in self._mutually_exclusive_groups:
            if group.required:
                flags = (action.option_strings[-1] for action in group._group_actions)
                words.append("{" + ",".join(flags) + "}")
        return f"usage: {' '.join(words)}"

    @property
    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _wrong_flags(self) -> list[str]:
        flags, words = self._flags, self._words
        before = words[: words.index("--")] if "--" in words else words
        known = (word.partition("=")[0] in flags for word in before)
        pairs = zip(before, known, strict=True)
        return [word for word, is_known in pairs if word[:2] == "--" and not is_known]

    def _unknown(self, words: Sequence[str]) -> str:
        told = " ".join(words)
        told = told if len(told) <= _LONG else f"{told[:_LONG]}…"
        return f"unknown: {told}{self._meant(words)}"

    def _meant(self, unknown: Sequence[str]) -> str:
        flags = self._flags
        for word in unknown:
            flag = word.partition("=")[0]
            if not flag.startswith("-"):
                continue
            longer = [known for known in flags if known.startswith(flag)]
            if flag.startswith("--") and longer:
                return f"; write it whole: {' or '.join(longer)}"
            if _OTHERS.get(flag) in flags:
                return f"; did you mean {_OTHERS[flag]}?"
            return did_you_mean(flag, flags)
        return ""


def _marked(words: list[str]) -> list[str]:
    """Return `words` without their `--`, what stands behind it marked by a NUL.

    Python's versions disagree on what a `--` means to intermixed arguments; no word of
    a command line can hold a NUL.
    """
    if "--" not in words:
        return words
    at = words.index("--")
    return words[:at] + ["\0" + word for word in words[at + 1 :]]


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if isinstance(value, Path):
        return Path(_unmarked(str(value)))
    return value.removeprefix("\0") if isinstance(value, str) else value


def paint(text: str, code: str, stream: Any) -> str:
    """Return `text` in a colour where `stream` is a terminal, and NO_COLOR unset."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain or not stream.isatty() else f"\033[{code}m{text}\033[0m"
