"""The command line: exit codes, one-line errors, and what the commands print."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_helpers import finished_run, texts, weights, write_texts

from gpt2_jax.cli.finetune import finetune_config
from gpt2_jax.cli.main import build_parser, main
from gpt2_jax.config import FINETUNE_PRESETS, to_dict
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.tokenizer import encode
from gpt2_jax.version import __version__

_QUICK = ["--epochs", "1", "--eval-every", "3", "--learning-rate", "0.01"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    """The flags that name the tiny model and the tiny data."""
    model, data = weights(tmp_path_factory), texts(tmp_path_factory)
    return ["--weights", str(model), "--data", str(data)]


def _fails(capsys, argv: list[str], code: int) -> str:
    """Return the one line of the error, below how `predict` understood its file."""
    assert main(argv) == code
    out, error = capsys.readouterr()
    lines = error.splitlines(keepends=True)
    error = "".join(line for line in lines if not line.startswith("data: "))
    assert error.startswith("gpt2-jax: error: ") and error.endswith("\n"), error
    assert error.count("\n") == 1, error
    assert "Traceback" not in out + error
    return error


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fine-tune"],
        ["finetune", "--colour", "red"],
        ["finetune", "--epochs", "many"],
        ["finetune", "--pool", "middle"],
        ["finetune", "--split", "0.5", "0.5"],
        ["predict"],
    ],
)
def test_what_the_parser_does_not_know_is_a_usage_error(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: gpt2-jax" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "epochs=0 must be positive"),
        (["--split", "0.5", "0.5", "0.5"], "sum to 1"),
        (["--split", "nan", "0.5", "0.5"], "split="),
        (["--devices", "0"], "devices=0 must be positive"),
        (["--learning-rate", "nan"], "learning_rate=nan"),
        (["--trainable", "h_("], "is no regex"),
        (["--trainable", "last_blok"], "match no parameter: last_blok"),
        (["--resume"], "--resume needs the --workdir"),
        (["--config", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_values_that_no_run_can_have_exit_with_2(flags, message, inputs, capsys):
    assert message in _fails(capsys, ["finetune", *inputs, *flags], 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json"),
        ("[]", "expected a JSON object"),
        ('{"colour": "red"}', "unknown keys colour"),
        ('{"train": {"epochs": true}}', "config.json.train.epochs: expected int"),
        ('{"data": {"split": 0.7}}', "split"),
        ('{"train": {"trainable": "head"}}', "trainable"),
    ],
)
def test_a_broken_config_file_exits_with_2_and_its_name(
    content, message, tmp_path, capsys
):
    path = tmp_path / "config.json"
    path.write_text(content)
    argv = ["finetune", "--config", str(path), "--dry-run"]
    assert message in _fails(capsys, argv, 2)


@pytest.mark.parametrize(
    ("flags", "resume"),
    [([], False), (["--resume"], True), (["--resume", "auto"], "auto")],
)
def test_resume_takes_one_word_or_none(flags, resume):
    arguments = build_parser().parse_args(["finetune", *flags, "--epochs", "3"])
    assert arguments.resume == resume
    with pytest.raises(SystemExit):
        build_parser().parse_args(["finetune", "--resume", "always"])


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_too_many_devices_exit_with_3(parallel, inputs, tmp_path, capsys):
    flags = ["--parallel", parallel, "--devices", "99"]
    argv = ["finetune", *inputs, *flags, "--workdir", str(tmp_path / "run")]
    assert "--devices 99" in _fails(capsys, argv, 3)


def test_data_that_cannot_be_used_exit_with_4(inputs, run, tmp_path, capsys):
    missing = str(tmp_path / "none.csv")
    argv = ["finetune", *inputs[:2], "--data", missing, "--dry-run"]
    assert "none.csv: no such file" in _fails(capsys, argv, 4)
    path = tmp_path / "one.csv"
    path.write_text("text,label\na,ham\nb,ham\n")
    argv = ["finetune", *inputs[:2], "--data", str(path), "--dry-run"]
    assert "only one class" in _fails(capsys, argv, 4)
    assert "none.csv" in _fails(capsys, ["evaluate", str(run), "--data", missing], 4)
    assert "none.csv" in _fails(capsys, ["predict", str(run), "--file", missing], 4)


def test_weights_and_runs_that_cannot_be_used_exit_with_5(inputs, tmp_path, capsys):
    argv = ["finetune", *inputs, "--weights", str(tmp_path), "--dry-run"]
    said = f"{tmp_path}: no weights and no run of gpt2-jax: holds neither"
    assert said in _fails(capsys, argv, 5)
    for command in (["evaluate"], ["predict", "a text"]):
        argv = [command[0], str(tmp_path), *command[1:]]
        assert "no weights and no run" in _fails(capsys, argv, 5)
    (tmp_path / "results.json").write_text("{}")  # a member of a sweep that kept none
    argv = ["predict", str(tmp_path), "a text"]
    assert "a run whose model is gone" in _fails(capsys, argv, 5)


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path):
    command = [sys.executable, "-m", "gpt2_jax", "predict", str(tmp_path), "a"]
    plain = subprocess.run(command, capture_output=True, text=True)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert plain.returncode == 5
    assert plain.stderr.count("\n") == 1
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "no weights and no run" in debug.stderr


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


_FLAGS = {
    "weights": ["some/folder"],
    "num-heads": ["7"],
    "naming": ["nanogpt"],
    "tokenizer": ["a/folder"],
    "data": ["texts.csv"],
    "text-column": ["message"],
    "label-column": ["kind"],
    "group-column": ["who"],
    "split-column": ["part"],
    "encoding": ["cp1252"],
    "drop-duplicates": [],
    "balance": ["weights"],
    "split": ["0.6", "0.2", "0.2"],
    "trainable": ["out_head/.*", "ln_f/.*"],
    "pool": ["mean"],
    "max-length": ["40"],
    "epochs": ["3"],
    "batch-size": ["16"],
    "learning-rate": ["0.25"],
    "weight-decay": ["0.5"],
    "schedule": ["linear"],
    "warmup-steps": ["7"],
    "seed": ["9"],
    "dtype": ["bfloat16"],
    "parallel": ["pmap"],
    "devices": ["2"],
    "eval-every": ["11"],
    "save-every": ["13"],
    "keep": ["best"],
    "metric": ["f1"],
    "patience": ["4"],
    "tensorboard": [],
    "wandb": [],
}


def _resolved(*argv: str) -> dict:
    arguments = build_parser().parse_args(["finetune", *argv])
    return to_dict(finetune_config(arguments))


def _flat(values: dict) -> dict[str, str]:
    rooms = {**values, **values["layout"], **values["data"], **values["train"]}
    return {key: str(value) for key, value in rooms.items()}


@pytest.mark.parametrize("flag", _FLAGS)
def test_each_flag_sets_its_field_and_no_other(flag):
    default, got = _flat(_resolved()), _flat(_resolved(f"--{flag}", *_FLAGS[flag]))
    field = "source" if flag == "data" else flag.replace("-", "_")
    changed = {key for key in got if got[key] != default[key]}
    changed -= {"data", "layout", "train"}
    assert changed == {field}
    for value in _FLAGS[flag]:
        assert value in got[field]


def test_flags_are_laid_over_the_preset():
    got = _resolved("--preset", "book", "--pool", "first")
    assert got == {**to_dict(FINETUNE_PRESETS["book"]), "pool": "first"}


def test_flags_are_laid_over_the_config_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(_resolved("--epochs", "3", "--pool", "mean")))
    got = _resolved("--config", str(path), "--epochs", "4")
    assert got == _resolved("--epochs", "4", "--pool", "mean")


@pytest.mark.slow
def test_a_run_from_flags_can_be_replayed_from_its_config(inputs, tmp_path, capsys):
    first, again = tmp_path / "first", tmp_path / "again"
    flags = ["--pool", "mean", "--batch-size", "6", "--seed", "4", *_QUICK]
    assert main(["finetune", *inputs, *flags, "--workdir", str(first)]) == 0
    out = capsys.readouterr().out
    saved = json.loads((first / "config.json").read_text())
    assert saved == json.loads(json.dumps(_resolved(*inputs, *flags)))
    argv = ["finetune", "--config", str(first / "config.json")]
    assert main([*argv, "--workdir", str(again)]) == 0
    ours, theirs = (
        json.loads((run / "results.json").read_text()) for run in (first, again)
    )
    for key in ("accuracy", "test", "data", "params"):
        assert ours[key] == theirs[key]
    assert f"test {100 * ours['accuracy']['test']:.2f}%" in out
    assert f"report: {first / 'report.html'}" in out


def test_a_used_workdir_exits_with_2(inputs, run, capsys):
    argv = ["finetune", *inputs, "--workdir", str(run)]
    assert "holds a run already" in _fails(capsys, argv, 2)


def test_a_dry_run_says_what_would_run_and_writes_nothing(
    inputs, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    argv = ["finetune", *inputs, "--dry-run", "--workdir", "run", "--epochs", "3"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    values, end = json.JSONDecoder().raw_decode(out)
    assert values == json.loads(json.dumps(_resolved(*inputs, "--epochs", "3")))
    assert (
        'texts.csv: CSV, delimiter comma, quote ", first row is the head' in out[end:]
    )
    assert "  2 labels: ham 30, spam 30" in out[end:]
    assert "split: 70/10/20 at random, every class alike" in out[end:]
    assert "train: 42 texts (21 ham, 21 spam)" in out[end:]
    assert "test: 12 texts (6 ham, 6 spam)" in out[end:]
    assert " parameters, " in out[end:] and " trained (last_block)" in out[end:]
    bars = [
        line for line in out[end:].splitlines() if " tokens " in line and "#" in line
    ]
    assert sum(int(line.split(" tokens ")[1].split()[0]) for line in bars) == 60
    assert "memory: about " in out[end:] and "time: about " in out[end:]
    assert list(tmp_path.iterdir()) == []


def test_evaluate_prints_the_accuracy_of_the_run(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    accuracy = json.loads((run / "results.json").read_text())["accuracy"]["test"]
    assert f"accuracy {100 * accuracy:.2f}%" in capsys.readouterr().out


@pytest.mark.slow
def test_a_script_reads_json_alone(inputs, run, tmp_path, capsys):
    stored = json.loads((run / "results.json").read_text())
    assert main(["evaluate", str(run), "--json", "--abstain-below", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == pytest.approx(stored["accuracy"]["test"])
    assert found["coverage"]["answered"] == found["coverage"]["n"]
    assert main(["finetune", *inputs, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["steps"] > 0 and planned["estimate"] and planned["config"]["data"]
    argv = ["finetune", *inputs, "--epochs", "1", "--workdir", str(tmp_path / "run")]
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert told == {**written, "folder": str(tmp_path / "run")}
    assert "data: " in err
    # and quietly: the run is complete already
    assert main([*argv, "--resume", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_evaluate_reads_other_columns(run, tmp_path, capsys):
    path = tmp_path / "other.csv"
    text = write_texts(tmp_path / "texts.csv", num=10).read_text()
    path.write_text(text.replace("text,label", "message,kind", 1))
    flags = ["--data", str(path), "--text-column", "message", "--label-column", "kind"]
    assert main(["evaluate", str(run), *flags]) == 0
    assert "n=10)" in capsys.readouterr().out


def test_evaluate_reads_other_encodings(run, tmp_path, capsys):
    path = tmp_path / "latin.csv"
    path.write_bytes("text,label\ngrüße,ham\nprize,spam\n".encode("latin-1"))
    argv = ["evaluate", str(run), "--data", str(path)]
    assert "if it reads right: --encoding cp1252" in _fails(capsys, argv, 4)
    assert "encoding='latin-x'" in _fails(capsys, [*argv, "--encoding", "latin-x"], 2)
    assert main([*argv, "--encoding", "latin-1"]) == 0
    assert "n=2)" in capsys.readouterr().out


def test_a_run_on_standard_input_cannot_be_evaluated_without_data(
    run, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(run / "model", folder / "model")
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"] = "-"
    (folder / "config.json").write_text(json.dumps(config))
    assert "was trained on standard input" in _fails(
        capsys, ["evaluate", str(folder)], 4
    )


def _jsonl(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


_ODD = ["free prize", "", "<|endoftext|>", "🎉 é"]


def test_predict_shows_label_and_probabilities_of_given_texts(run, capsys):
    assert main(["predict", str(run), *_ODD]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines] == _ODD
    for line in lines:
        label, shown, _ = line.split("\t")
        numbers = dict(zip(*[iter(shown.split())] * 2, strict=True))
        assert set(numbers) == {"ham", "spam"}
        assert float(numbers[label]) >= 0.5


def test_predict_gives_the_same_answers_by_every_way_in(
    run, tmp_path, capsys, monkeypatch
):
    rows = ["free prize", "see you, at lunch", "🎉 é <|endoftext|>"]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([row] for row in rows)])
    (tmp_path / "t.csv.gz").write_bytes(
        gzip.compress((tmp_path / "t.csv").read_bytes())
    )
    (tmp_path / "t.txt").write_text("\n".join(rows), "utf-8")
    lines = "\n".join(json.dumps({"text": row}) for row in rows)
    (tmp_path / "t.jsonl").write_text(lines)
    answers = []
    for name in ("t.csv", "t.csv.gz", "t.txt", "t.jsonl"):
        assert main(["predict", str(run), "--file", str(tmp_path / name)]) == 0
        answers.append(_jsonl(capsys.readouterr().out))
    _give(monkeypatch, lines)
    assert main(["predict", str(run)]) == 0
    answers.append(_jsonl(capsys.readouterr().out))
    output = tmp_path / "out.jsonl"
    argv = ["predict", str(run), *rows, "--output", str(output)]
    assert main(argv) == 0
    out, error = capsys.readouterr()
    assert out == "" and f"3 texts labelled: {output}" in error
    answers.append(_jsonl(output.read_text("utf-8")))
    assert main(["predict", str(run), *rows]) == 0
    shown = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    for answer in answers:
        assert [row["label"] for row in answer] == shown
        for row, text, expected in zip(answer, rows, answers[0], strict=True):
            keys = ["label", "prob", "probs", "n_tokens", "truncated"]
            assert list(row) == keys
            assert (
                row["prob"] == row["probs"][row["label"]] == max(row["probs"].values())
            )
            assert row["n_tokens"] == len(encode(text))
            assert row["truncated"] is False
            assert sum(row["probs"].values()) == pytest.approx(1, abs=2e-6)
            assert row["probs"] == pytest.approx(expected["probs"], abs=1e-5)


def _give(monkeypatch, text: str) -> None:
    """Put `text` on standard input."""
    stream = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stream)


def test_predict_passes_ids_through_and_flags_what_was_not_read_whole(
    run, capsys, monkeypatch
):
    values = [{"text": "a " * 100, "id": [1]}, {"text": "", "id": "x"}, {"text": "a"}]
    _give(monkeypatch, "\n".join(map(json.dumps, values)))
    assert main(["predict", str(run)]) == 0
    out, error = capsys.readouterr()
    rows = _jsonl(out)
    assert [row.get("id") for row in rows] == [[1], "x", None]
    assert [next(iter(row)) for row in rows] == ["id", "id", "label"]
    assert [row["n_tokens"] for row in rows] == [101, 0, 1]
    assert [row["truncated"] for row in rows] == [True, False, False]
    assert "1 texts cut to 64 tokens" in error


def test_predict_explains_in_json_and_in_marked_words(run, capsys, monkeypatch):
    text = "claim your free prize 🎉"
    classifier = Classifier.load(run)
    for flags in (["--explain"], ["--explain", "gradients"]):
        _give(monkeypatch, json.dumps({"text": text}))
        assert main(["predict", str(run), *flags]) == 0
        words = _jsonl(capsys.readouterr().out)[0]["explanation"]
        assert [word["word"] for word in words] == text.split()
        assert all(text[w["start"] : w["end"]] == w["word"] for w in words)
        weights = [w.weight for w in classifier.explain([text], *flags[1:])[0]]
        assert [w["weight"] for w in words] == pytest.approx(weights, abs=1e-5)
    assert main(["predict", str(run), text, "--explain", "gradients"]) == 0
    shown = capsys.readouterr().out
    first = max(words, key=lambda word: abs(word["weight"]))
    assert f"[{first['word']} {first['weight']:+.2f}]" in shown
    assert "\033" not in shown  # colour is for a terminal


def test_predict_goes_on_with_a_broken_output(run, tmp_path, capsys):
    (tmp_path / "t.txt").write_text("\n".join(f"free prize {i}" for i in range(9)))
    output = tmp_path / "out.jsonl"
    argv = ["predict", str(run), "--file", str(tmp_path / "t.txt")]
    argv += ["--output", str(output)]
    assert main(argv) == 0
    assert "t.txt: one text a line, utf-8" in capsys.readouterr().err
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    assert main([*argv, "--resume"]) == 0
    assert output.read_bytes() == whole
    assert "5 texts labelled" in capsys.readouterr().err
    output.unlink()
    assert main([*argv, "--resume"]) == 0  # nothing there yet: all of it
    assert output.read_bytes() == whole
    output.write_bytes(b"mine\n")
    capsys.readouterr()
    assert "another one wrote it" in _fails(capsys, [*argv, "--resume"], 2)
    assert "--resume needs the --output" in _fails(
        capsys, ["predict", str(run), "a", "--resume"], 2
    )


def test_predict_overwrites_no_file_unless_it_is_told_to(run, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    argv = ["predict", str(run), "a text", "--output", str(output)]
    for content in (b"mine\n", b""):
        output.write_bytes(content)
        error = _fails(capsys, argv, 2)
        assert f"{output}: is there already" in error and "--overwrite" in error
        assert output.read_bytes() == content
    assert main([*argv, "--overwrite"]) == 0
    assert len(_jsonl(output.read_text("utf-8"))) == 1
    assert main([*argv[:-1], os.devnull]) == 0
    capsys.readouterr()
    assert "--overwrite needs the --output" in _fails(
        capsys, [*argv[:3], "--overwrite"], 2
    )
    with pytest.raises(SystemExit):
        main([*argv, "--overwrite", "--resume"])


@pytest.mark.parametrize("first", ['{"text": "a"}', '"a"'])
def test_a_line_that_is_no_json_after_one_that_was_is_no_text(
    run, capsys, monkeypatch, first
):
    _give(monkeypatch, f"{first}\n\nplain\n")
    assert main(["predict", str(run)]) == 4
    out, error = capsys.readouterr()
    assert len(_jsonl(out)) == 1
    assert "standard input, line 3: not JSON, though the first line is" in error
    _give(monkeypatch, "plain\nplain too\n")
    assert main(["predict", str(run)]) == 0
    assert len(_jsonl(capsys.readouterr().out)) == 2


def test_a_text_of_several_lines_is_answered_in_one(run, capsys):
    assert main(["predict", str(run), "one\ntwo\tthree", "four"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("\t") for line in lines] == [2, 2]
    assert lines[0].endswith("\tone\\ntwo\\tthree")


def test_predict_reads_another_column(run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("id,message\n1,hello\n")
    argv = ["predict", str(run), "--file", str(tmp_path / "t.csv")]
    assert "no column 'text'" in _fails(capsys, argv, 4)
    assert main([*argv, "--text-column", "message"]) == 0
    assert _jsonl(capsys.readouterr().out)[0]["id"] == "1"


@pytest.mark.slow
def test_predict_answers_a_stream_line_by_line(run):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        [sys.executable, "-m", "gpt2_jax", "predict", str(run)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in ("first", "second 🎉"):
            process.stdin.write(json.dumps({"text": text, "id": text}) + "\n")
            process.stdin.flush()
            # The next line is written only after this answer: no answer, no end.
            assert json.loads(process.stdout.readline())["id"] == text
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(timeout=30) == 0


def test_predict_refuses_an_empty_stream_and_a_broken_line(run, capsys, monkeypatch):
    _give(monkeypatch, "")
    assert "standard input: empty" in _fails(capsys, ["predict", str(run)], 4)
    _give(monkeypatch, '{"text": null}\n')
    assert "line 1: 'text' is null; expected a string" in _fails(
        capsys, ["predict", str(run)], 4
    )


def test_predict_takes_half_an_emoji_from_json(run, capsys, monkeypatch):
    for flags in ([], ["--explain", "gradients"], ["--explain"]):
        _give(monkeypatch, '{"text": "\\ud83d!", "id": "\\ud83d"}\n')
        assert main(["predict", str(run), *flags]) == 0
        assert _jsonl(capsys.readouterr().out)[0]["id"] == "\ud83d"


def test_predict_tells_how_many_texts_were_cut(run, capsys):
    assert main(["predict", str(run), "a " * 100, "short"]) == 0
    assert "1 texts cut to 64 tokens" in capsys.readouterr().err


def test_predict_refuses_an_output_that_cannot_be_written(run, tmp_path, capsys):
    argv = ["predict", str(run), "a", "--output", str(tmp_path / "no" / "out")]
    assert "cannot be written" in _fails(capsys, argv, 2)


def test_a_refused_input_leaves_no_open_or_empty_output(run, tmp_path, capsys):
    output, missing = tmp_path / "out.jsonl", str(tmp_path / "none.txt")
    argv = ["predict", str(run), "--file", missing, "--output", str(output)]
    _fails(capsys, argv, 4)
    assert not output.exists()


def test_help_and_config_errors_do_not_wait_for_jax():
    code = (
        "import sys, gpt2_jax, gpt2_jax.cli.main\n"
        "assert gpt2_jax.cli.main.main(['finetune', '--epochs', '0']) == 2\n"
        "assert 'jax' not in sys.modules\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["evaluate", "RUN", "--label-column", "b"], "--label-column"),
        (["evaluate", "RUN", "--delimiter", ";", "--join", " "], "--join, --delimiter"),
        (["predict", "RUN", "a text", "--text-column", "b"], "--text-column"),
        (["predict", "RUN", "--delimiter", ";"], "--delimiter"),
        (["predict", "RUN", "--no-header"], "--header"),
    ],
)
def test_flags_of_files_are_refused_where_there_is_none(argv, said, run, capsys):
    argv = [str(run) if word == "RUN" else word for word in argv]
    assert f"{said}: " in _fails(capsys, argv, 2)
