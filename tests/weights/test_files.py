import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.files import INDEX, TORCH_INDEX, read_state_dict
from gpt2_jax.weights.pretrained import load_pretrained

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def sharded(tmp_path):
    return Path(shutil.copytree(GOLDEN / "hf_odd_sharded", tmp_path / "model"))


def edit_index(folder, change):
    path = folder / INDEX
    values = json.loads(path.read_text())
    change(values["weight_map"])
    path.write_text(json.dumps(values))


def test_shards_hold_what_the_single_file_holds(sharded):
    single = read_state_dict(GOLDEN / "hf_odd")
    together = read_state_dict(sharded)
    together = {n.removeprefix("transformer."): v for n, v in together.items()}
    single = {n.removeprefix("transformer."): v for n, v in single.items()}
    assert set(single) == set(together)
    for name, value in single.items():
        np.testing.assert_array_equal(together[name], value)


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00003.*no such file"):
        read_state_dict(sharded)


def test_an_index_that_lies_is_refused(sharded):
    edit_index(sharded, lambda where: where.pop(sorted(where)[0]))
    with pytest.raises(WeightsError, match="differs from the index"):
        read_state_dict(sharded)


def test_an_index_that_names_another_shard_is_refused(sharded):
    def swap(where):
        first, *_ = sorted(where)
        where[first] = next(shard for shard in where.values() if shard != where[first])

    edit_index(sharded, swap)
    with pytest.raises(WeightsError, match=r"differs from the index in \S+$"):
        read_state_dict(sharded)


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "..", "", 3, None],
)
def test_a_shard_that_is_no_file_of_the_folder_is_refused(sharded, shard):
    single = GOLDEN / "hf_odd" / "model.safetensors"
    shutil.copy(single, sharded.parent / "x.safetensors")  # it would be read
    edit_index(sharded, lambda where: where.update({"x": shard}))
    with pytest.raises(WeightsError, match="is not a plain file name"):
        read_state_dict(sharded)


@pytest.mark.parametrize("where", [{}, [], "x", None])
def test_an_index_without_a_map_is_refused(sharded, where):
    (sharded / INDEX).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(WeightsError, match="expected a weight_map"):
        read_state_dict(sharded)


@pytest.mark.fault(9)
def test_a_shard_that_is_not_whole_is_refused(sharded):
    shard = sharded / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=r"model-00002.*not a whole safetensors"):
        read_state_dict(sharded)


@pytest.mark.fault(9)
@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_that_is_not_whole_is_refused(tmp_path, keep):
    whole = (GOLDEN / "hf_odd" / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole[:keep])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_state_dict(path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"holds neither model\.safetensors"):
        read_state_dict(tmp_path)


def test_an_unknown_format_is_refused(tmp_path):
    path = tmp_path / "weights.xyz"
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match="unknown weight format"):
        read_state_dict(path)


def test_an_index_that_is_no_json_is_refused(sharded):
    (sharded / INDEX).write_text("{")
    with pytest.raises(WeightsError, match="not readable as JSON"):
        read_state_dict(sharded)


WEIGHTS = GOLDEN / "weights"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n"
)
PAGES = (
    b"<!DOCTYPE html><html>",
    b"\n <html lang='en'>",
    b"\xef\xbb\xbf<!doctype HTML>",
)


@pytest.mark.fault(22)
@pytest.mark.parametrize("file", ["model.safetensors", "x.pth", "x.pt", "x.bin"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, file):
    (tmp_path / file).write_bytes(POINTER)
    with pytest.raises(WeightsError, match=rf"{file}: a Git LFS pointer.*git lfs pull"):
        read_state_dict(tmp_path / file)


@pytest.mark.fault(22)
@pytest.mark.parametrize("file", ["model.safetensors", "x.pth"])
@pytest.mark.parametrize("page", PAGES)
def test_a_web_page_is_named(tmp_path, file, page):
    (tmp_path / file).write_bytes(page)
    with pytest.raises(WeightsError, match=rf"{file}: a web page, not the weights"):
        read_state_dict(tmp_path / file)


@pytest.mark.fault(22)
def test_a_pointer_in_the_place_of_a_shard_is_named(sharded):
    shard = sharded / "model-00003-of-00003.safetensors"
    shard.write_bytes(POINTER)
    with pytest.raises(WeightsError, match=r"model-00003.*a Git LFS pointer"):
        read_state_dict(sharded)


def test_shards_of_torch_hold_what_the_single_file_holds():
    single = read_state_dict(WEIGHTS / "hf_bin")
    together = read_state_dict(WEIGHTS / "hf_bin_sharded")
    assert set(single) - set(together) == {"lm_head.weight"}
    for name, value in together.items():
        np.testing.assert_array_equal(single[name], value)


def test_a_missing_shard_of_torch_is_named(tmp_path):
    folder = shutil.copytree(WEIGHTS / "hf_bin_sharded", tmp_path / "model")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(WeightsError, match=r"pytorch_model-00002.*no such file"):
        read_state_dict(folder)


def test_safetensors_are_preferred_to_torch(tmp_path):
    folder = shutil.copytree(WEIGHTS / "hf_safetensors", tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    (folder / TORCH_INDEX).write_bytes(b"not read")
    assert "transformer.wte.weight" in read_state_dict(folder)


def test_an_index_with_a_name_twice_is_refused(sharded):
    text = (sharded / INDEX).read_text()
    name = sorted(json.loads(text)["weight_map"])[0]
    twice = text.replace(f'"{name}"', f'"{name}": "x", "{name}"')
    (sharded / INDEX).write_text(twice)
    with pytest.raises(WeightsError, match=f"has twice: {name}"):
        read_state_dict(sharded)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.gguf", b"GGUF\3\0\0\0", "a GGUF file; use the weights that"),
        ("x.bin", b"GGUF\3\0\0\0", "a GGUF file"),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n", "HDF5 file of Keras; .*from_tf=True"),
        ("gpt2_124M.bin", (20240520).to_bytes(4, "little"), r"data file of llm\.c; "),
        ("model.onnx", b"\x08\x08", "an ONNX graph; use"),
        ("model.weights.h5", b"x", "a model of KerasHub; write"),
        ("adapter_model.safetensors", b"x", "PEFT adapters; give their folder"),
        ("weights.npz", b"PK", "arrays of numpy; write"),
        ("x.weights.h5", b"\x89HDF\r\n\x1a\n", "a model of KerasHub; write"),
        ("ggml-model.bin", b"lmgg\1", "a GGML file; use the weights that"),
        ("gpt2.pkl", b"\x80\x04", "a pickle, which is never run; write its tensors"),
        ("openvino_model.xml", b"<?xml", "for another runtime; use the weights that"),
        ("model.pt2", b"PK", "a program of torch.export; write its tensors"),
        ("gpt2.tar.gz", b"\x1f\x8b", "an archive; unpack it"),
        (
            "model.ckpt.index",
            b"x",
            "a part of TensorFlow's checkpoint; give its folder",
        ),
        ("model.ckpt.data-00000-of-00001", b"x", "TensorFlow's checkpoint; give its f"),
        (
            "model.safetensors.index.json",
            b"{}",
            "what stands beside weights; give their",
        ),
        ("config.json", b"{}", "what stands beside weights; give their folder"),
    ],
)
def test_a_file_of_another_program_is_named_with_the_way(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=what) as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model-q4.gguf", "a GGUF file .*; use"),
        ("tf_model.h5", "HDF5 file of Keras .*; write"),
        ("flax_model.msgpack.index.json", "a flax model in shards .*; write it again"),
        ("saved_model.pb", "a SavedModel of TensorFlow .*; write"),
        ("_CHECKPOINT_METADATA", "an orbax checkpoint of another program .*; write"),
        ("checkpoint-500", "Trainer without a final model .*; give one of its"),
        ("snapshots", "the hub's cache .*; give one of its"),
        ("zero_to_fp32.py", "parts of a distributed checkpoint .*; put"),
    ],
)
def test_a_folder_of_another_program_is_named_with_the_way(tmp_path, name, what):
    (tmp_path / name).mkdir()
    with pytest.raises(WeightsError, match=what):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("base_model.model.h.0.attn.c_attn.lora_A.default.weight", "PEFT adapters"),
        *(
            (f"transformer.h.0.attn.c_attn.{leaf}", "quantized weights .*; write them")
            for leaf in (
                *("qweight", "SCB", "weight.absmax", "weight_packed", "weight._data"),
                *("W_q", "weight_scale_inv", "scales"),
            )
        ),
        ("tfgpt2lm_head_model/transformer/wte/weight:0", "TensorFlow's models"),
        ("blk.0.attn_qkv.weight", "the tensors of a GGUF file"),
    ],
)
def test_tensors_of_another_program_are_named_with_the_way(tmp_path, name, what):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({name: np.ones(2, np.float32)}, path)
    with pytest.raises(WeightsError, match=what):
        load_pretrained(path)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_tensors_of_a_type_that_no_model_computes_with_are_refused(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"a": np.ones(2, dtype)}, path)
    with pytest.raises(WeightsError, match=r"holds U\d\d tensors.*again in float32"):
        load_pretrained(path)
