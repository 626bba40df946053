"""What a run says while it goes on: every line once, and bars for those who look."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import sys
import threading
import types
from collections.abc import Iterator

import pytest
from serve_helpers import tiny_trained
from tqdm import tqdm

from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.progress import bar, bars
from gpt2_jax.workdir.console import console

_CHILD = logging.getLogger("gpt2_jax.training.loop")
_OURS = logging.getLogger("gpt2_jax")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def _nothing_set_up() -> Iterator[None]:
    """Leave the root and our logger without handlers: pytest has its own."""
    loggers = (logging.getLogger(), _OURS)
    before = [(one.handlers, one.level) for one in loggers]
    for one in loggers:
        one.handlers = []
    loggers[0].setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, (handlers, level) in zip(loggers, before, strict=True):
            one.handlers = handlers
            one.setLevel(level)


def _own(stream: io.StringIO, logger: logging.Logger, level: int) -> None:
    handler = logging.StreamHandler(stream)
    logger.handlers.append(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("where", [None, "", "gpt2_jax"])
@pytest.mark.parametrize("with_bar", [False, True])
def test_every_line_comes_once_under_any_logging(where, with_bar, capsys, monkeypatch):
    own = io.StringIO()
    if with_bar:
        monkeypatch.setattr(sys, "stderr", _Terminal())
    with _nothing_set_up():
        if where is not None:
            _own(own, logging.getLogger(where), logging.INFO)
        with console(verbose=True), bar(3, "training", "steps") as shown:
            shown.update()
            _CHILD.info("a line")
            _CHILD.warning("a warning")
    printed = capsys.readouterr().out
    said = own.getvalue() + printed
    assert said.count("a line") == said.count("a warning") == 1
    assert ("a line" in printed) == (where is None)


def test_a_quiet_run_says_warnings_alone():
    own = io.StringIO()
    with _nothing_set_up():
        _own(own, logging.getLogger(), logging.INFO)
        with console(verbose=False):
            _CHILD.info("a line")
            _CHILD.warning("a warning")
        _CHILD.info("after")
    assert own.getvalue().splitlines() == ["a warning", "after"]


def test_of_two_runs_at_once_the_one_that_ends_first_silences_none(capsys):
    first, second = console(verbose=True), console(verbose=True)
    quiet = console(verbose=False)
    with _nothing_set_up():
        first.__enter__()
        second.__enter__()
        quiet.__enter__()
        first.__exit__(None, None, None)
        quiet.__exit__(None, None, None)
        _CHILD.info("still here")
        second.__exit__(None, None, None)
        _CHILD.info("over")
        assert capsys.readouterr().out == "still here\n"
        assert _OURS.handlers == []


@pytest.mark.parametrize("name", ["absl", "orbax.checkpoint"])
def test_what_orbax_tells_of_itself_is_left_out(name, monkeypatch):
    own, noisy = io.StringIO(), logging.getLogger(name)
    monkeypatch.setattr(noisy, "level", logging.NOTSET)
    monkeypatch.setattr(noisy, "propagate", True)
    monkeypatch.setattr(noisy, "handlers", [])
    with _nothing_set_up():
        _own(own, logging.getLogger(), logging.DEBUG)
        with console(verbose=True):
            noisy.info("wrote 3 arrays")
            noisy.warning("the disk is slow")
        noisy.info("not ours to silence")
    assert own.getvalue().splitlines() == ["the disk is slow", "not ours to silence"]


def _shown(stream: io.StringIO) -> str:
    with bar(10, "training", "steps", done=4) as shown:
        shown.delay = 0  # as after a second
        shown.update(2)
        shown.refresh()
    return stream.getvalue()


def test_a_bar_is_shown_on_a_terminal_and_goes_away(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bars(shown=True):
        assert "training:  60%" in _shown(terminal)
        assert terminal.getvalue().endswith("\r")
    with bars(shown=False):
        before = terminal.getvalue()
        assert _shown(terminal) == before


def test_a_file_gets_no_bar_and_a_cell_of_a_notebook_does(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with bars(shown=True):
        assert _shown(file) == ""
    shell = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setattr("gpt2_jax.progress._kind", lambda: __import__("tqdm").tqdm)
    with bars(shown=True):
        assert "training:  60%" in _shown(file)


def test_a_thread_shows_no_bar_for_another_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", _Terminal())
    seen = []
    with bars(shown=True):
        thread = threading.Thread(target=lambda: seen.append(bar(1, "a", "b").disable))
        thread.start()
        thread.join()
        assert seen == [True] and not bar(1, "a", "b").disable


@pytest.mark.parametrize("what", ["frozen trunk", "evaluation"])
def test_trunk_and_evaluation_tell_the_remaining_time(what, monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("gpt2_jax.progress._DELAY", 0)
    monkeypatch.setattr("gpt2_jax.engine.packing.CALL_TOKENS", 64)
    often = functools.partial(tqdm, mininterval=0, miniters=1)
    monkeypatch.setattr("gpt2_jax.progress._kind", lambda: often)
    texts = ["a " * n for n in range(1, 30)]
    with bars(shown=True):
        Classifier(tiny_trained()).predict_proba(texts)
    steps = [x for x in terminal.getvalue().split("\r") if x.startswith(what)]
    assert any(re.search(r"\d+/29 \[\d\d:\d\d<\d\d:\d\d", x) for x in steps), steps
