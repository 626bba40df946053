"""What the command line says where it is asked wrongly, or for help."""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex

import pytest

from gpt2_jax.cli import doctor
from gpt2_jax.cli.main import build_parser, main
from gpt2_jax.cli.parser import paint
from gpt2_jax.cli.predict import method_of_explain


def _commands() -> dict[str, argparse.ArgumentParser]:
    # argparse keeps them in private fields without types
    (found,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    return dict(found.choices)  # type: ignore[arg-type]


def _said(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    usage, error, advice = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: gpt2-jax") and advice.endswith("--help")
    return error


@pytest.mark.parametrize(
    ("line", "command", "said"),
    [
        ("finetun", "gpt2-jax", "did you mean finetune?"),
        ("finetune --lr 3", "gpt2-jax finetune", "did you mean --learning-rate?"),
        ("finetune --trainble all", "gpt2-jax finetune", "did you mean --trainable?"),
        ("finetune --epoch 3", "gpt2-jax finetune", "write it whole: --epochs"),
        ("finetune --learning 3", "gpt2-jax finetune", "it whole: --learning-rate"),
        ("finetune --pool means", "gpt2-jax finetune", "did you mean mean?"),
        ("serve RUN --portt 1", "gpt2-jax serve", "did you mean --port?"),
        ("evaluate", "gpt2-jax evaluate", "RUN"),
        ("evaluate --jsn", "gpt2-jax evaluate", "did you mean --json?"),
        ("threshold RUN", "gpt2-jax threshold", "--target-precision"),
        (
            "threshold RUN --precision 1",
            "gpt2-jax threshold",
            "mean --target-precision?",
        ),
    ],
)
def test_an_error_names_the_command_and_what_was_meant(line, command, said, capsys):
    error = _said(capsys, *line.split())
    assert error.startswith(f"{command}: error: ") and said in error


def test_a_text_beside_an_unknown_flag_is_cut(capsys):
    error = _said(capsys, "predict", "RUN", "--jsn", "so " * 500)
    assert "unknown: --jsn" in error and len(error) < 200


def test_usage_says_what_must_be_and_what_may_be_there(capsys):
    for line, usage in (
        ("predict", "usage: gpt2-jax predict [FLAGS] RUN [TEXT ...]"),
        ("threshold", "RUN {--target-precision,--target-recall,--best-f1,--remove}"),
    ):
        with pytest.raises(SystemExit):
            main([line, "--help"])
        assert capsys.readouterr().out.splitlines()[0].endswith(usage)
        with pytest.raises(SystemExit):
            main([line, "--no-such"])
        assert capsys.readouterr().err.splitlines()[0].endswith(usage)


def test_a_run_whose_name_is_almost_right_is_told(tmp_path, capsys):
    (tmp_path / "mail").mkdir()
    assert main(["evaluate", str(tmp_path / "mial")]) == 5
    assert "did you mean mail?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("finetune --data sms_spam --dry-run", "did you mean sms-spam?"),
        ("finetune --trainable last_blok --dry-run", "did you mean last_block?"),
        ("finetune --weights 124m --offline --dry-run", "did you mean 124M?"),
    ],
)
def test_a_value_that_is_almost_one_is_told(line, said, capsys):
    assert main(line.split()) in (2, 4, 5)
    assert said in capsys.readouterr().err


def test_a_file_beside_it_may_have_been_meant(tmp_path, capsys):
    (tmp_path / "messages.csv").write_text("text,label\n")
    argv = ["finetune", "--data", str(tmp_path / "mesages.csv"), "--dry-run"]
    assert main(argv) == 4
    assert "did you mean messages.csv?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *_commands()])
def test_help_has_words_for_everything_and_an_example_that_parses(command, capsys):
    parser = _commands()[command] if command else build_parser()
    for action in parser._actions:
        named = action.help and action.help is not argparse.SUPPRESS
        assert named or action.dest == "command", action
    text = parser.format_help()
    usage, *_ = text.splitlines()
    assert usage.startswith("usage: gpt2-jax") and len(usage) < 100
    example = re.search(r"example:\n  gpt2-jax (.*)", text)
    assert example
    words = shlex.split(example[1])
    build_parser().parse_args(words)
    assert not command or words[0] == command


def test_explain_takes_no_value_but_the_words_of_before_still_do():
    parse = build_parser().parse_args
    cut = parse(["predict", "RUN", "one", "--top-k", "2", "two"])
    assert cut.texts == ["one", "two"]
    for line, method, texts in (
        (["--explain", "a text"], None, ["a text"]),
        (["a text", "--explain"], None, ["a text"]),
        (["--explain", "gradients", "a text"], "gradients", ["a text"]),
        (["a text", "--explain=occlusion"], "occlusion", ["a text"]),
        (["--explain", "--explain-method", "gradients", "a"], "gradients", ["a"]),
        (["--explain", "--", "gradients"], None, ["gradients"]),
    ):
        got = parse(["predict", "RUN", *line])
        assert (got.explain, got.explain_method, got.texts) == (True, method, texts)
    odd = parse(["predict", "--explain", "--", "-R", "--top-k", "-x", "--"])
    assert (str(odd.run), odd.texts) == ("-R", ["--top-k", "-x", "--"])
    assert method_of_explain(["gradients"]) == ["gradients"]
    with pytest.raises(SystemExit):
        parse(["predict", "RUN", "--explain=words", "a"])


def test_colour_is_for_terminals(monkeypatch):
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("a", "1", Terminal()) == "\033[1ma\033[0m"
    assert paint("a", "1", io.StringIO()) == "a"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("a", "1", Terminal()) == "a"


def test_the_doctor_tells_what_there_is_and_what_to_install(monkeypatch, capsys):
    find_spec = doctor.importlib.util.find_spec

    def without_fastapi(name: str, *rest: str):
        return None if name == "fastapi" else find_spec(name, *rest)

    monkeypatch.setattr(doctor.importlib.util, "find_spec", without_fastapi)
    assert main(["doctor", "--offline", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "missing fastapi: pip install 'gpt2-jax[serve]'" in found["extra"]["serve"]
    assert found["devices"][0].startswith("cpu") and "network" not in found
    assert {"python", "memory", "disk", "cache", "package"} <= found.keys()
    assert main(["doctor", "--offline"]) == 0
    assert "package jax: " in capsys.readouterr().out


def test_a_host_that_cannot_be_reached_is_said(monkeypatch):
    def refuse(address, timeout):
        raise OSError(101, "Network is unreachable")

    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setattr(doctor.socket, "create_connection", refuse)
    assert "Network is unreachable" in doctor._reached("huggingface.co")
