import pickletools
import zipfile

import numpy as np
import pytest

from gpt2_jax.export.pth_writer import write_pth

RANDOM = np.random.default_rng(0)
TENSORS = {
    "a.weight": RANDOM.normal(size=(3, 5)).astype(np.float32),
    "a.turned": RANDOM.normal(size=(4, 2)).astype(np.float32).T,
    "bé.bias": RANDOM.normal(size=7).astype(np.float32),
    "scalar": np.float32(3).reshape(()),
    "three": RANDOM.normal(size=(2, 3, 4)).astype(np.float32),
    "empty": np.zeros((0, 4), np.float32),
}
TENSORS["again"] = TENSORS["a.weight"]


@pytest.fixture
def path(tmp_path):
    write_pth(tmp_path / "weights.pth", TENSORS)
    return tmp_path / "weights.pth"


def test_torch_reads_every_tensor_in_its_safe_mode(path):
    torch = pytest.importorskip("torch")
    state = torch.load(path, weights_only=True)
    assert list(state) == list(TENSORS)
    for name, value in TENSORS.items():
        assert state[name].dtype == torch.float32
        assert state[name].shape == value.shape
        np.testing.assert_array_equal(state[name].numpy(), value)
    assert state["again"].data_ptr() == state["a.weight"].data_ptr()
    assert not state["a.weight"].requires_grad


def test_the_pickle_names_the_three_globals_of_a_state_dict(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read("archive/data.pkl")
    opcodes = [(code.name, value) for code, value, _ in pickletools.genops(content)]
    named = {value for name, value in opcodes if name == "GLOBAL"}
    assert named == {
        "collections OrderedDict",
        "torch FloatStorage",
        "torch._utils _rebuild_tensor_v2",
    }
    assert not {name for name, _ in opcodes} & {"INST", "OBJ", "NEWOBJ", "BUILD"}


def test_one_array_under_two_names_is_stored_once(path):
    with zipfile.ZipFile(path) as archive:
        stored = [name for name in archive.namelist() if "/data/" in name]
        assert {info.compress_type for info in archive.infolist()} == {0}
    assert len(stored) == len(TENSORS) - 1


def test_equal_tensors_make_equal_files(path, tmp_path):
    write_pth(tmp_path / "other.pth", dict(TENSORS))
    assert (tmp_path / "other.pth").read_bytes() == path.read_bytes()
