"""Hostile tables, streams, settings and texts: used, or refused in words."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
from fuzzing import ENCODINGS, dump, fuzz, mutated, mutated_json, nothing_runs
from hypothesis import strategies as st

from gpt2_jax import config
from gpt2_jax.cli import main as cli
from gpt2_jax.cli.finetune import finetune_config
from gpt2_jax.data.entries import Entry
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.inference.classifier import Prediction
from gpt2_jax.inference.rows import open_entries, stream_groups
from gpt2_jax.inference.show import json_line
from gpt2_jax.inference.windows import windows
from gpt2_jax.tokenizer import END_OF_TEXT, VOCAB_SIZE, decode, encode

_CSV = 'text,label,id\r\n"a ""quoted"", text\nof two lines",ham,1\r\nb,spam,2\r\n'
_TSV = 'label\ttext\nham\tsee you\nspam\tWIN "now"\n'
_ROWS = [
    {"text": "é 🙂", "label": "ham", "id": 7},
    {"text": "b", "label": 1, "id": [1]},
]
_JSONL = "".join(json.dumps(row) + "\n" for row in _ROWS)
_SEEDS = {
    ".csv": [_CSV.encode(), b"\xef\xbb\xbf" + _CSV.encode(), _CSV.encode("utf-16")],
    ".tsv": [_TSV.encode(), _TSV.replace("\n", "\r\n").encode()],
    ".jsonl": [_JSONL.encode(), _JSONL.encode("cp1252", "replace")],
}
_TOKENS = [
    *(b'"', b'""', b",", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb"),
    *(
        b"[" * 600,
        b'{"a":' * 300,
        b"}" * 300,
        b"1" * 5000,
        b"1e999",
        b"NaN",
        b"\\ud800",
    ),
    *(b'"text":', b'"label":', b"\xe2\x80\xa8", b"\x85", b"\x1b[2J", b"'", b"=cmd()"),
]

_ABOUT_LABELS = re.compile(
    "no column .*'label'|the label|labelled texts|'label' (is|holds) "
)

_PREDICTION = Prediction("ham", 1.0, {"ham": 1.0}, 1, False)


def _names(path: Path, error: UserError) -> None:
    assert str(path.name) in str(error) or "standard input" in str(error), error


@pytest.mark.fault(34, 35, 36)
@pytest.mark.filterwarnings("ignore:invalid escape")  # of the codec unicode_escape
@pytest.mark.parametrize("suffix", _SEEDS)
def test_fuzz_labelled_texts(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"

    def check(drawn: tuple[bytes, str]) -> None:
        content, encoding = drawn
        path.write_bytes(content)
        try:
            with nothing_runs():
                table = read_table(path, encoding=encoding)
        except DataError as error:
            return _names(path, error)
        assert len(table.texts) == len(table.labels) > 0
        assert all(label.strip() for label in table.labels)
        for text in table.texts:
            text.encode()

    content = mutated(_SEEDS[suffix], _TOKENS)
    encodings = st.sampled_from(["utf-8"] * 6 + ENCODINGS)
    fuzz(st.tuples(content, encodings), check, 100)


@pytest.mark.fault(33, 34, 35, 36)
@pytest.mark.filterwarnings("ignore:invalid escape")
@pytest.mark.parametrize("suffix", [*_SEEDS, ".ndjson", ".json", ".txt", ".CSV"])
def test_fuzz_both_sides_read_the_same(suffix, tmp_path):
    """Training and prediction give the same texts of any file, or the same error."""
    path = tmp_path / f"x{suffix}"
    seeds = [content for several in _SEEDS.values() for content in several]

    def check(drawn: tuple[bytes, str, str]) -> None:
        content, encoding, errors = drawn
        path.write_bytes(content)
        how = Reading(text_column="text", encoding=encoding, encoding_errors=errors)
        predicted, failure = [], ""
        try:
            for window in windows([], path, how, io.BytesIO()):
                predicted += [row.text for row in window]
        except DataError as error:
            failure = str(error)
        try:
            table = read_table(path, **dataclasses.asdict(how))
        except DataError as error:
            # Labels are needed here alone: where they are what is wrong, the texts
            # are not compared.
            told = re.sub(r" --label-column \S+", "", str(error))
            if failure != told:
                assert _ABOUT_LABELS.search(str(error)), (str(error), failure)
            return
        assert not failure and list(table.texts) == predicted

    encodings = st.sampled_from(["utf-8"] * 6 + ENCODINGS)
    errors = st.sampled_from(["strict", "strict", "replace"])
    content = _json_lines() | mutated(_SEEDS.get(suffix, seeds), _TOKENS)
    fuzz(st.tuples(content, encodings, errors), check, 60)


@st.composite
def _json_lines(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(mutated_json(_ROWS), max_size=3))
    return b"\n".join(map(dump, lines))


def _texts_of(content: bytes, name: str) -> list[Entry]:
    with open_entries(io.BytesIO(content), name, Reading()) as entries:
        return list(entries)


@pytest.mark.fault(34, 36, 38)
def test_fuzz_texts_to_predict(tmp_path):
    """Files and standard input; what is read can be answered."""
    path = tmp_path / "x"

    def check(drawn: tuple[bytes, str]) -> None:
        content, suffix = drawn
        named = path.with_suffix(suffix)
        rows = []
        for read in (
            lambda: _texts_of(content, str(named)),
            lambda: (
                r for g in stream_groups(io.BytesIO(content), Reading()) for r in g
            ),
            lambda: (
                r for w in windows([], None, Reading(), io.BytesIO(content)) for r in w
            ),
        ):
            try:
                with nothing_runs():
                    rows += list(read())
            except DataError as error:
                _names(named, error)
        for row in rows:
            line = json_line(_PREDICTION, row.id, None)
            assert "\n" not in line and line.encode()
            encode(row.text)

    seeds = [content for several in _SEEDS.values() for content in several]
    content = _json_lines() | mutated(seeds, _TOKENS)
    suffixes = st.sampled_from([*_SEEDS, ".txt"])
    fuzz(st.tuples(content, suffixes), check, 100)


@pytest.mark.slow
@pytest.mark.fault(17)
def test_fuzz_config_json(tmp_path, capsys):
    """Whatever a config.json says, it is a config that JSON can hold, or one line."""
    path = tmp_path / "config.json"
    seeds = [config.to_dict(preset) for preset in config.FINETUNE_PRESETS.values()]
    argv = ["finetune", "--config", str(path), "--dry-run"]

    def check(content: bytes) -> None:
        path.write_bytes(content)
        arguments = cli.build_parser().parse_args(argv)
        try:
            with nothing_runs(but=["exec"]):  # typing evaluates our annotations
                found = finetune_config(arguments)
        except UserError as error:
            assert cli._fail(error, error.exit_code) == 2
            assert capsys.readouterr().err.count("\n") == 1
            return
        again = config.from_dict(config.FinetuneConfig, config.to_dict(found))
        assert again == found
        json.dumps(config.to_dict(found), allow_nan=False)

    check(dump(seeds[0]))
    fuzz(mutated_json(seeds).map(dump) | mutated([dump(seeds[0])], _TOKENS), check, 30)


@pytest.mark.fault(38, 39)
def test_fuzz_tokenizer():
    runs = st.tuples(
        st.sampled_from(
            [" ", "\n", "\u3000", " \t", "a", "1", "!", "é", "🙂", "\ud800"]
        ),
        st.sampled_from([1, 7, 3000, 20_000]),
    ).map(lambda run: run[0] * run[1])
    odd = st.sampled_from(["<|endoftext|>", "'s", "\x1c", "\x85", "\0", "\ufeff", "x"])
    texts = st.lists(st.text(max_size=9) | odd | runs, max_size=6).map("".join)

    def check(text: str) -> None:
        tokens = encode(text)
        assert END_OF_TEXT not in tokens if text else tokens == [END_OF_TEXT]
        assert all(0 <= token < VOCAB_SIZE for token in tokens)
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if text:
            assert decode(tokens) == whole

    check("warm")
    fuzz(texts, check, 100)


@pytest.mark.fault(33)
def test_an_odd_value_is_shown_in_one_line(tmp_path, capsys):
    """Also names that files give: they may hold what moves a terminal's cursor."""
    for number, name in enumerate(["a\nb", "\x1b[2J", "x" * 10**6, "\u2028", "\r"]):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(dump({name: "x"}))
        with pytest.raises(DataError) as caught:
            read_table(path)
        cli._fail(caught.value, 4)
        shown = capsys.readouterr().err
        assert shown.endswith("\n") and shown[:-1].isprintable() and len(shown) < 5000
