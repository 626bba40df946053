"""OpenAI's checkpoints: a stored one that TensorFlow wrote, whole and damaged."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import tensorflow_checkpoint
from gpt2_jax.weights.files import read_state_dict
from gpt2_jax.weights.pretrained import load_pretrained

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
DATA = "model.ckpt.data-00000-of-00001"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN / "openai", tmp_path / "model"))


def test_the_tensors_are_those_that_were_written(folder):
    theirs = read_state_dict(GOLDEN / "hf_safetensors")
    ours = tensorflow_checkpoint.read(folder)
    assert len(ours) == len(theirs)  # global_step is an integer, and left out
    for layer, prefix in (("attn/c_attn", "attn.c_attn"), ("mlp/c_proj", "mlp.c_proj")):
        weight = theirs[f"transformer.h.1.{prefix}.weight"]
        np.testing.assert_array_equal(ours[f"model/h1/{layer}/w"], weight[None])
        bias = theirs[f"transformer.h.1.{prefix}.bias"]
        np.testing.assert_array_equal(ours[f"model/h1/{layer}/b"], bias)


def test_the_newest_checkpoint_is_the_one_that_is_noted(folder):
    for file in list(folder.glob("model.ckpt.*")):
        file.rename(folder / file.name.replace("model.ckpt", "model-1000"))
    with pytest.raises(WeightsError, match=r"model\.ckpt\.index: no such file"):
        load_pretrained(folder)
    note = folder / "checkpoint"
    note.write_text('model_checkpoint_path: "/elsewhere/run1/model-1000"\n')
    assert load_pretrained(folder)[0].num_layers == 2


def test_every_flipped_bit_of_the_index_is_noticed_or_harmless(folder):
    path = folder / "model.ckpt.index"
    whole = path.read_bytes()
    expected = tensorflow_checkpoint.read(folder)
    noticed = 0
    for at in range(0, len(whole), 3):
        content = bytearray(whole)
        content[at] ^= 1 << (at % 8)
        path.write_bytes(content)
        try:
            ours = tensorflow_checkpoint.read(folder)
        except WeightsError:
            noticed += 1
            continue
        # the padding of the footer, and the meta index that nobody reads
        assert set(ours) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(ours[name], value)
    assert noticed > 0.8 * len(whole) / 3


@pytest.mark.parametrize("keep", [0, 30, 47, -1])
def test_an_index_that_is_cut_is_refused(folder, keep):
    path = folder / "model.ckpt.index"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a whole TensorFlow index"):
        load_pretrained(folder)


def test_data_that_is_cut_is_refused(folder):
    (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"{DATA}: does not hold what"):
        load_pretrained(folder)


@pytest.mark.parametrize("file", ["model.ckpt.index", DATA])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(WeightsError, match=f"{file}: no such file"):
        load_pretrained(folder)
