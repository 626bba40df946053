"""Hostile weights: any bytes are read, or refused in words; nothing in them runs."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch_zip
from fuzzing import ODD_VALUES, dump, fuzz, mutated, mutated_json, nothing_runs
from helpers import TINY, random_params, write_hugging_face
from hypothesis import strategies as st
from training_helpers import random_run

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import files, pth, tensorflow_checkpoint
from gpt2_jax.weights.pretrained import read_pretrained
from gpt2_jax.weights.trained import MODEL_FILE, load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"

_known: set[Any] = set()  # readers that have imported what they need


def _read(read: Callable[[Path], Any], path: Path, *, but: Sequence[str] = ()) -> None:
    """Read `path`, or have it refused by name in words, without running anything."""
    if read not in _known:
        _known.add(read)
        read(path)
    try:
        with nothing_runs(but=but):
            read(path)
    except WeightsError as error:
        assert str(path) in str(error) or path.name in str(error), error


@st.composite
def _safetensors(draw: st.DrawFn) -> bytes:
    """Draw a file whose header is JSON with odd values, of the right length or not."""
    content = (GOLDEN / "tensors.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    text = dump(draw(mutated_json([header, {}])))
    size = draw(st.one_of(st.just(len(text)), st.integers(0, 2**64 - 1)))
    return struct.pack("<Q", size) + text + data


@pytest.mark.fault(22, 23)
def test_fuzz_safetensors(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = (GOLDEN / "tensors.safetensors").read_bytes()
    tokens = [b'"F32"', b'"shape":[', b"4294967296", b'"a":', b"{", b"}", b"[" * 99]

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _read(files.read_contents, path)

    check(whole)
    fuzz(_safetensors() | mutated([whole], tokens), check, 120)


_ONE = torch_zip.tensor(torch_zip.storage("0", 2), (2,))
# Pieces of pickles: those of a state dict, and those that would run something.
_OPCODES = [
    *(b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u"),
    *(b"R", b"b", b"0", b"2", b"N", b"\x88", b"\x89", b"K\x01", b"Q", b"\x93", b"\x94"),
    *(b"q\x00", b"h\x00", b"h\x01", b"j\xff\xff\xff\xff", b".", b"\x80\x04", b"\x81"),
    *(b"o", b"\x92", b"\x8f", b"\x90", b"\x91", b"I10\n", b"L1L\n", b"F1e9\n", b"1"),
    torch_zip.integer(2**62),
    b"\x8a\xff" + b"\x7f" * 255,
    *map(torch_zip.text, ["a", "os", "system", "storage", "_metadata", "model_args"]),
    torch_zip.named("collections", "OrderedDict"),
    torch_zip.named("torch._utils", "_rebuild_tensor_v2"),
    torch_zip.named("torch._utils", "_rebuild_parameter"),
    torch_zip.named("torch", "FloatStorage"),
    torch_zip.named("os", "system") + torch_zip.text("touch canary") + b"\x85R",
    torch_zip.named("builtins", "eval") + torch_zip.text("1") + b"\x85R",
    b"cos\nsystem\n(Vtouch canary\ntR",
    b"(Vtouch canary\nios\nsystem\n",
    torch_zip.storage("0", 2),
    _ONE,
    torch_zip.tensor(torch_zip.storage("0", 2), (2**40, 2**40), (0, 0)),
]


@st.composite
def _pickles(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.sampled_from(_OPCODES), max_size=30))
    times = draw(st.sampled_from([1, 1, 1, 200]))
    body = b"".join(pieces) * times
    if draw(st.booleans()):
        return torch_zip.PROTO_2 + b"}(" + torch_zip.text("a") + _ONE + body + b"u."
    return body + b"."


@pytest.mark.fault(29)
@pytest.mark.filterwarnings("ignore:invalid escape")  # of pickletools, about names
def test_fuzz_pickle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    whole = torch_zip.state({"a": _ONE})

    def check(pickled: bytes) -> None:
        torch_zip.pack(path, pickled, {"0": bytes(8)})
        _read(pth.read, path)

    check(whole)
    fuzz(_pickles() | mutated([whole], _OPCODES), check, 120)
    assert not Path("canary").exists()


@pytest.mark.fault(30)
@pytest.mark.filterwarnings("ignore:invalid escape")
def test_fuzz_pth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = torch_zip.pack(
        tmp_path / "x.pth", torch_zip.state({"a": _ONE}), {"0": bytes(8)}
    )
    seeds = [path.read_bytes(), (GOLDEN / "tensors.pth").read_bytes()]
    tokens = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"../", b"\0"]

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _read(files.read_contents, path)

    check(seeds[1])
    fuzz(mutated(seeds, tokens), check, 120)


@pytest.mark.fault(24, 26)
def test_fuzz_hugging_face(tmp_path):
    """The config.json beside the weights, and the names of the tensors."""
    folder = write_hugging_face(tmp_path / "hf", TINY, random_params(TINY))
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, values = weights.read_bytes(), json.loads(config.read_text())
    (size,) = struct.unpack("<Q", whole[:8])
    text, data = whole[8 : 8 + size], whole[8 + size :]

    def check(drawn: tuple[object, str | None]) -> None:
        content, name = drawn
        config.write_bytes(dump(content))
        header = text
        if name is not None:
            header = text.replace(b'"wte.weight"', dump(name))
            header = header.replace(b'"h.2.', dump(name)[:-1] + b".")
        weights.write_bytes(struct.pack("<Q", len(header)) + header + data)
        _read(read_pretrained, folder, but=["exec"])  # flax makes dataclasses

    check((values, None))
    names = st.sampled_from(["", "h.9" + "9" * 4999, "h.0.x", "\0", "transformer.wte"])
    fuzz(
        st.tuples(mutated_json([values]), st.none() | names | st.text(max_size=9)),
        check,
        30,
    )


@pytest.mark.fault(24)
def test_fuzz_classifier_json(tmp_path):
    folder = random_run(tmp_path / "run") / "model"
    path = folder / MODEL_FILE
    values = json.loads(path.read_text())

    def check(content: object) -> None:
        path.write_bytes(dump(content))
        try:
            model = load_model(folder)
        except WeightsError:
            return
        assert 1 <= model.max_length <= model.config.max_len
        assert 0 < model.temperature < float("inf")

    check(values)
    fuzz(mutated_json([values]), check, 12)


@pytest.mark.fault(22)
def test_fuzz_index_of_shards(tmp_path):
    folder = shutil.copytree(GOLDEN / "hf_bin_sharded", tmp_path / "hf")
    path = folder / files.TORCH_INDEX
    values = json.loads(path.read_text())

    def check(drawn: tuple[object, object]) -> None:
        content, shard = drawn
        if shard is not None and isinstance(content, dict):
            content = {**content, "weight_map": {"a": shard}}
        path.write_bytes(dump(content))
        _read(files.read_contents, folder)

    check((values, None))
    fuzz(st.tuples(mutated_json([values]), st.none() | ODD_VALUES), check, 60)


@pytest.mark.fault(22)
def test_fuzz_tensorflow_checkpoint(tmp_path, monkeypatch):
    folder = shutil.copytree(GOLDEN / "openai", tmp_path / "openai")
    path = next(folder.glob("*.index"))
    whole = path.read_bytes()
    # What a fuzzer without it would spend all its time on.
    monkeypatch.setattr(tensorflow_checkpoint, "_masked_crc32c", _AnyChecksum)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _read(tensorflow_checkpoint.read, folder)

    check(whole)
    varints = [b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 8, b"\x12", b"\x08"]
    fuzz(mutated([whole], varints), check, 60)


class _AnyChecksum:
    """Equal to every checksum."""

    def __init__(self, content: bytes) -> None:
        del content

    def __ne__(self, other: object) -> bool:
        return False


def test_the_watch_sees_what_runs(tmp_path):
    """Without it the tests above would prove little."""
    for run in (
        lambda: os.system("true"),
        lambda: (tmp_path / "canary").write_text(""),
        lambda: exec("1"),
        lambda: __import__("this"),
    ):
        with pytest.raises(AssertionError), nothing_runs():
            run()
