"""gpt2-jax convert and export: what they print, and their exit codes."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import TINY, random_params, write_hugging_face, write_table
from tokenizers_of_others import vocabulary, write_folder
from training_helpers import random_run, weights

from gpt2_jax.cli.main import main
from gpt2_jax.config import ForeignConfig
from gpt2_jax.export import classifier as inference_export
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import MINGPT

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"


@pytest.fixture
def source(tmp_path):
    return str(write_hugging_face(tmp_path / "source", TINY, random_params(TINY)))


def fails(capsys, argv, code):
    """Return the one line of the error."""
    assert main(argv) == code
    error = capsys.readouterr().err
    assert error.startswith("gpt2-jax: error: ") and error.count("\n") == 1
    return error


@pytest.mark.slow
def test_convert_prints_what_it_checked_and_where_it_wrote(source, tmp_path, capsys):
    book = str(tmp_path / "book.safetensors")
    assert main(["convert", source, book, "--to", "llms-from-scratch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("parameters bit-equal")
    assert lines[-1] == f"written: {book}"
    orbax = str(tmp_path / "orbax")
    argv = ["convert", book, orbax, "--to", "orbax"]
    assert "give num_heads" in fails(capsys, argv, 5)
    assert main([*argv, "--num-heads", "2", "--offline"]) == 0
    config, params = load_pretrained(orbax)
    assert config == TINY
    expected = random_params(TINY)["wte"]["embedding"]
    np.testing.assert_array_equal(params["wte"]["embedding"], expected)


def test_convert_exits_with_2_and_5(source, tmp_path, capsys):
    there = ["convert", source, source, "--to", "hf"]
    assert "is there already" in fails(capsys, there, 2)
    suffix = ["convert", source, str(tmp_path / "x.bin"), "--to", "llms-from-scratch"]
    assert "end its name in .safetensors or .pth" in fails(capsys, suffix, 2)
    missing = ["convert", str(tmp_path / "no"), str(tmp_path / "x"), "--to", "hf"]
    assert "no such file" in fails(capsys, missing, 5)
    assert sorted(os.listdir(tmp_path)) == ["source"]


@pytest.mark.parametrize("command", ["convert", "finetune"])
def test_offline_and_not_cached_exits_with_5(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody
    monkeypatch.chdir(tmp_path)
    argv = {
        "convert": ["convert", "124M", "x", "--to", "hf"],
        "finetune": ["finetune", "--weights", "124M", "--dry-run"],
    }[command]
    line = fails(capsys, [*argv, "--offline"], 5)
    assert f"124M: not in {tmp_path / 'hub'}, and --offline forbids" in line
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    line = fails(capsys, argv, 5)
    assert "openai-community/gpt2/" in line and "rasbt/gpt2" in line  # both mirrors


def test_offline_reaches_the_data_of_finetune(
    tmp_path_factory, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GPT2_JAX_DATA", raising=False)
    argv = ["--weights", str(weights(tmp_path_factory)), "--data", "sms-spam"]
    line = fails(capsys, ["finetune", *argv, "--offline", "--dry-run"], 4)
    assert "--offline forbids to download it" in line


def test_finetune_is_told_what_a_file_does_not_say(tmp_path, capsys):
    words = write_folder(tmp_path / "words")
    config = dataclasses.replace(TINY, vocab_size=len(vocabulary()[0]))
    state = to_state_dict(random_params(config), MINGPT, "transformer.")
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(state, path)
    table = str(write_table(tmp_path / "a.csv"))
    argv = ["finetune", "--weights", str(path), "--data", table, "--dry-run"]
    assert "naming='mingpt'" in fails(capsys, argv, 5)
    argv += ["--naming", "mingpt"]
    assert "give num_heads" in fails(capsys, argv, 5)
    argv += ["--num-heads", "2"]
    assert "or give --tokenizer" in fails(capsys, argv, 2)
    argv += ["--tokenizer", str(words)]
    assert main(argv) == 0
    random = ["finetune", "--weights", "random:mini", "--data", table, "--dry-run"]
    assert "omit --num-heads" in fails(capsys, [*random, "--num-heads", "2"], 2)


def test_export_prints_what_it_checked_and_where_it_wrote(capsys, monkeypatch):
    calls = []

    def export_run(*arguments, **named):
        calls.append((*arguments, named))
        return ["what was checked", "and more"]

    monkeypatch.setattr(inference_export, "export_run", export_run)
    assert main(["export", "run", "x", "--format", "hf"]) == 0
    named = {"quantize": None, "without_lexical": False, "offline": False}
    named["how"] = ForeignConfig()
    assert calls == [(Path("run"), Path("x"), "hf", named)]
    assert capsys.readouterr().out == "what was checked\nand more\nwritten: x\n"


def test_export_exits_with_2_and_5(tmp_path, capsys):
    run, destination = str(random_run(tmp_path / "run")), str(tmp_path / "x.pth")
    argv = ["export", run, destination, "--format", "llms-from-scratch"]
    assert "cannot express the pool last_real" in fails(capsys, argv, 2)
    argv = ["export", run, run, "--format", "hf"]
    assert "is there already" in fails(capsys, argv, 2)
    argv = ["export", str(tmp_path / "no"), destination, "--format", "hf"]
    assert "no such file or folder" in fails(capsys, argv, 5)
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("command", ["convert", "export"])
def test_the_format_must_be_given_and_known(command, capsys):
    for flags in ([], ["--to", "tflite"], ["--format", "tflite"]):
        with pytest.raises(SystemExit) as caught:
            main([command, "a", "b", *flags])
        assert caught.value.code == 2


@pytest.mark.slow
def test_what_a_file_does_not_tell_is_told_by_flags(tmp_path, capsys):
    """nanoGPT's tensors alone, and a tokenizer that lies elsewhere."""
    source = GOLDEN / "nanogpt.safetensors"
    argv = ["convert", str(source), str(tmp_path / "hf"), "--to", "hf"]
    assert "naming" in fails(capsys, [*argv, "--num-heads", "2"], 5)
    assert main([*argv, "--num-heads", "2", "--naming", "nanogpt"]) == 0
    values = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (values["n_head"], values["activation_function"]) == (2, "gelu")
    config = dataclasses.replace(TINY, vocab_size=len(vocabulary()[0]))
    folder = write_hugging_face(tmp_path / "w", config, random_params(config))
    own = write_folder(tmp_path / "tokenizer")
    argv = ["convert", str(folder), str(tmp_path / "both"), "--to", "hf"]
    assert main([*argv, "--tokenizer", str(own)]) == 0
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "both" / name).read_bytes() == (own / name).read_bytes()
