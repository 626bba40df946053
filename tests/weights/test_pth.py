"""Files of torch, read without it: what torch writes, and what nobody should."""

from __future__ import annotations

import math
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_zip
from helpers import TINY, random_params
from torch_zip import pack, pack_arrays, state, storage, tensor, text

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import pth
from gpt2_jax.weights.arrays import read_into
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.files import read_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import LLMS_FROM_SCRATCH

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
ONE = state({"a": tensor(storage("0", 2), (2,))})
TWO_FLOATS = np.asarray([1.5, -2.0], "<f4").tobytes()


def assert_same_tensors(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize("file", ["tensors.pth", "tensors_protocol_4.pth"])
def test_every_type_and_layout_is_what_safetensors_says(file):
    twin = read_state_dict(GOLDEN / "tensors.safetensors")
    assert len(twin) == 17
    assert_same_tensors(pth.read(GOLDEN / file)[0], twin)


def test_what_torch_shares_is_read_once():
    tensors, _ = pth.read(GOLDEN / "tensors.pth")
    for name in ("transposed", "row", "column", "corner", "every_other"):
        assert np.shares_memory(tensors["whole"], tensors[name]), name
    assert not np.shares_memory(tensors["whole"], tensors["half"])


def test_only_the_model_of_a_checkpoint_is_read(monkeypatch):
    read = []
    whole = read_into
    monkeypatch.setattr(
        pth, "read_into", lambda stream, into: (read.append(1), whole(stream, into))
    )
    tensors, beside = pth.read(GOLDEN / "nanogpt.pt")
    assert beside["iter_num"] == 5
    assert beside["model_args"]["n_head"] == 2
    assert set(beside["optimizer"]) == {"state", "param_groups"}
    assert len(read) == len(tensors) - 1  # wte and lm_head are one


def test_reading_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from gpt2_jax.weights import pth; "
        f"pth.read(Path({str(GOLDEN / 'book.pth')!r})); "
        "assert not any(name.split('.')[0] == 'torch' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        pth.read(path)
    assert str(path) in str(caught.value)


def test_the_format_before_torch_1_6_is_read():
    ours = read_state_dict(GOLDEN / "tensors_legacy.pth")
    assert_same_tensors(ours, read_state_dict(GOLDEN / "tensors.safetensors"))


@pytest.mark.fault(9)
@pytest.mark.parametrize("keep", [20, 0.3, 0.7, -1])
def test_an_old_file_that_is_cut_is_refused(tmp_path, keep):
    whole = (GOLDEN / "tensors_legacy.pth").read_bytes()
    path = tmp_path / "x.pth"
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else keep])
    refused(path, "refused")


@pytest.mark.fault(29)
def test_an_attack_in_an_old_file_leaves_nothing(tmp_path):
    canary = tmp_path / "canary"
    call = torch_zip.named("os", "system") + text(f"touch {canary}") + b"\x85R."
    whole = (GOLDEN / "tensors_legacy.pth").read_bytes()
    for place in [m.end() for m in re.finditer(rb"\.(?=\x80\x02)", whole)][:3]:
        path = tmp_path / "x.pth"
        path.write_bytes(whole[:place] + torch_zip.PROTO_2 + call + whole[place:])
        refused(path, r"asks for os\.system")
    assert not canary.exists()


def test_a_key_may_hold_the_state_dict_under_any_name(tmp_path):
    pickled = b"}" + text("layers") + ONE[2:-1] + b"s" + text("epoch") + b"K\x03s."
    state_dict, beside = pth.read(pack(tmp_path / "x.pth", pickled, {"0": TWO_FLOATS}))
    assert list(state_dict) == ["a"] and beside == {"epoch": 3}


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("a/code/__torch__/x.py", "a program of TorchScript; .*model.state_dict"),
        ("a/archive_format", "a program of torch.export; .*model.state_dict"),
    ],
)
def test_a_program_of_torch_is_named_with_the_way(tmp_path, entry, match):
    path = pack(tmp_path / "x.pt", ONE, {"0": TWO_FLOATS})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, b"x" * 100)
    refused(path, match)


@pytest.mark.parametrize("key", ["model", "network"])
def test_a_whole_model_in_a_checkpoint_is_named_with_the_way(tmp_path, key):
    model = torch_zip.named("my.models", "Net") + b")\x81}b"
    pickled = b"}" + text("epoch") + b"K\x03s" + text(key) + model + b"s."
    path = pack(tmp_path / "x.pt", pickled)
    refused(path, f"under '{key}' an object of my.models.Net, which is never made")


@pytest.mark.parametrize("kind", ["QInt8Storage", "ComplexFloatStorage"])
def test_numbers_that_no_model_computes_with_are_named_with_the_way(tmp_path, kind):
    path = pack(tmp_path / "x.pt", state({"a": tensor(storage("0", 2, kind), (2,))}))
    refused(path, f"torch.{kind}, .*quantized.*; write them again in float32")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x80\x02}q\x00."])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    refused(
        path, "not a zip file" if content == b"PK" else "no file that torch.save wrote"
    )


@pytest.mark.fault(9)
@pytest.mark.parametrize("keep", [40, 0.5, -1])
def test_a_file_that_is_cut_is_refused(tmp_path, keep):
    whole = (GOLDEN / "book.pth").read_bytes()
    path = tmp_path / "x.pth"
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else keep])
    refused(path, "refused")


@pytest.mark.fault(8)
def test_a_flipped_bit_is_noticed(tmp_path):
    path = pack(tmp_path / "x.pth", ONE, {"0": TWO_FLOATS})
    content = path.read_bytes()
    assert content.count(TWO_FLOATS) == 1
    path.write_bytes(content.replace(TWO_FLOATS, b"\0" + TWO_FLOATS[1:7] + b"\1"))
    refused(path, "Bad CRC-32")


def entry(name, content=TWO_FLOATS, **fields):
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (entry("a/../../x"), "leads out of the archive"),
        (entry("/etc/x"), "leads out of the archive"),
        (entry("a\\..\\x"), "leads out of the archive"),
        (entry("a/data/1", compress_type=zipfile.ZIP_DEFLATED), "is compressed"),
        (entry("a/data/1", b"0" * 10**6, compress_type=zipfile.ZIP_LZMA), "compressed"),
        (entry("a/data/1", external_attr=0o120777 << 16), "is a symbolic link"),
        (entry("b/data.pkl"), "2 entries are a data.pkl"),
        (entry("a/inner/data.pkl"), "2 entries are a data.pkl"),
    ],
)
def test_an_entry_that_torch_never_writes_is_refused(tmp_path, extra, match):
    path = pack(tmp_path / "x.pth", ONE, {"0": TWO_FLOATS})
    assert pth.read(path)[0]["a"].tolist() == [1.5, -2.0]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(*extra)
    refused(path, match)


@pytest.mark.fault(30)
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a/data.pkl", "a/data/0"])
def test_an_entry_that_is_there_twice_is_refused(tmp_path, name):
    path = pack(tmp_path / "x.pth", ONE, {"0": TWO_FLOATS})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, TWO_FLOATS)
    refused(path, "is there twice")


def change_directory(path, field, value):
    """Overwrite a field of every entry in the archive's central directory."""
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\1\2")
    while at >= 0:
        struct.pack_into("<H" if field == 8 else "<I", content, at + field, value)
        at = content.find(b"PK\1\2", at + 4)
    path.write_bytes(content)


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        (24, 2**32 - 2, "is compressed"),  # larger than what is stored
        (20, 1, "is compressed"),
        (8, 1, "is encrypted"),
    ],
)
def test_sizes_that_lie_are_refused(tmp_path, field, value, match):
    path = pack(tmp_path / "x.pth", ONE, {"0": TWO_FLOATS})
    change_directory(path, field, value)
    refused(path, match)


@pytest.mark.fault(30)
def test_entries_that_share_their_bytes_are_refused(tmp_path):
    # A bomb of no compression: the sizes agree, and all entries are one.
    path = pack(tmp_path / "x.pth", ONE, {str(i): bytes(4000) for i in range(9)})
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("a/data/0").header_offset
    content = path.read_bytes()
    start, end = content.find(b"PK\3\4", first + 1), content.find(b"PK\1\2")
    directory = bytearray(content[end:])
    cut = end - start
    struct.pack_into("<I", directory, len(directory) - 6, start)
    path.write_bytes(content[:start] + directory)
    refused(path, "larger than the file")
    assert cut > 30_000


@pytest.mark.fault(30)
@pytest.mark.parametrize("part", ["data.pkl", "directory"])
def test_a_huge_part_that_should_be_small_is_refused(tmp_path, part):
    path = tmp_path / "x.pth"
    if part == "data.pkl":
        pack(path, ONE + bytes(5 << 20), {"0": TWO_FLOATS})
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(90):
                archive.writestr(f"{i:02}/{'x' * 60_000}", b"")
    refused(path, "must be small")


def test_big_endian_numbers_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", ONE)
        archive.writestr("a/byteorder", "big")
        archive.writestr("a/data/0", TWO_FLOATS)
    refused(path, "big-endian")


@pytest.mark.parametrize(
    ("stored", "layout", "match"),
    [
        (storage("1", 2), ((2,),), "its storage '1' is missing"),
        (storage("../0", 2), ((2,),), "is missing"),
        (storage("0", 3), ((2,),), "has 8 bytes; expected 3 of float32"),
        (storage("0", 2**62), ((2,),), "has 8 bytes"),
        (storage("0", -2), ((2,),), "has 8 bytes"),
        (storage("0", 2, "DoubleStorage"), ((2,),), "expected 2 of float64"),
        (storage("0", 2), ((3,),), "lies outside its storage"),
        (storage("0", 2), ((2,), (1,), 1), "lies outside its storage"),
        (storage("0", 2), ((2,), (2**61,)), "lies outside its storage"),
        (storage("0", 2), ((2**40, 768), (0, 0)), "lies outside its storage"),
        (storage("0", 2), ((2,), (1,), -1), "negative"),
        (storage("0", 2), ((2,), (-1,), 1), "negative"),
        (storage("0", 2), ((-2,),), "empty"),
        (storage("0", 2), ((0, 2**62),), "empty"),
        (storage("0", 2), ((2,), (1, 1)), "strides"),
        (storage("0", 2), ((1,) * 9,), "strides"),
    ],
)
def test_a_tensor_that_is_no_part_of_its_storage_is_refused(
    tmp_path, stored, layout, match
):
    pickled = state({"a": tensor(stored, *layout)})
    path = pack(tmp_path / "x.pth", pickled, {"0": TWO_FLOATS})
    refused(path, f"refused: a: .*{match}")


def test_one_storage_of_two_types_is_refused(tmp_path):
    pickled = state(
        {
            "a": tensor(storage("0", 2), (2,)),
            "b": tensor(storage("0", 2, "IntStorage"), (2,)),
        }
    )
    path = pack(tmp_path / "x.pth", pickled, {"0": TWO_FLOATS})
    refused(path, "b: shares numbers of another type")


@pytest.mark.parametrize(
    ("pickled", "match"),
    [
        (b"].", "holds a list"),
        (b"}.", "it is empty"),
        (b"}" + text("a") + b"Ns.", "look at a"),
        (b"}" + text("model") + b"}s.", "it is empty"),
        (
            b"}" + b"".join(text(k) + ONE[2:-1] + b"s" for k in ("a", "b")) + b".",
            "look at a, b",
        ),
        (torch_zip.named("__main__", "GPT") + b")\x81.", "an object of __main__.GPT"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, pickled, match):
    refused(pack(tmp_path / "x.pth", pickled, {"0": TWO_FLOATS}), match)


@pytest.mark.parametrize(
    ("escape", "match"),
    [(rb"\h", "opcode STRING is not allowed"), (rb"\777", "STRING|a damaged pickle")],
)
def test_an_odd_escape_is_refused_without_a_warning(tmp_path, escape, match):
    path = pack(tmp_path / "x.pth", torch_zip.PROTO_2 + b"S'" + escape + b"'\n.")
    refused(path, match)


@pytest.mark.fault(29)
def test_an_attack_in_a_file_leaves_nothing(tmp_path):
    canary = tmp_path / "canary"
    call = torch_zip.named("os", "system") + text(f"touch {canary}") + b"\x85R."
    path = pack(tmp_path / "x.pth", torch_zip.PROTO_2 + call)
    refused(path, r"asks for os\.system; only tensors are read")
    path = pack(tmp_path / "y.pth", path.read_bytes())  # an archive as the pickle
    refused(path, "pickle|opcode|damaged")
    assert not canary.exists()


def test_a_file_made_by_hand_loads_as_a_model(tmp_path):
    state_dict = to_state_dict(random_params(TINY), LLMS_FROM_SCRATCH)
    path = pack_arrays(tmp_path / "model.pth", state_dict)
    assert_same_tensors(read_state_dict(path), state_dict)
    assert load_pretrained(path, num_heads=2)[0] == TINY


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_what_torch_saves_now_is_read(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    whole = torch.randn(64, 48)
    saved = {
        "whole": whole,
        "view": whole.T[3:, ::2],
        "half": whole.half(),
        "brain": torch.nn.Parameter(whole.bfloat16()),
        "nested.deep": torch.arange(math.factorial(5)).reshape(2, 3, 4, 5),
    }
    torch.save(saved, tmp_path / f"x{suffix}")
    tensors = read_state_dict(tmp_path / f"x{suffix}")
    assert set(tensors) == set(saved)
    for name, value in saved.items():
        wide = value.detach().double().numpy()
        np.testing.assert_array_equal(tensors[name].astype(np.float64), wide, name)
