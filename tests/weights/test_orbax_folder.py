import json

import numpy as np
import pytest
from helpers import TINY, random_params

from gpt2_jax.errors import WeightsError
from gpt2_jax.model.tree import flatten
from gpt2_jax.storage.sealed import SEAL
from gpt2_jax.weights import orbax_folder
from gpt2_jax.weights.pretrained import load_pretrained


@pytest.fixture
def folder(tmp_path):
    orbax_folder.write(tmp_path / "model", TINY, random_params(TINY))
    return tmp_path / "model"


def edit_config(folder, change):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    values.pop(SEAL)  # which would tell, before they do
    path.write_text(json.dumps(values))


def test_what_was_written_is_read_by_load_pretrained(folder):
    config, params = load_pretrained(folder)
    assert config == TINY
    expected = flatten(random_params(TINY))
    assert flatten(params).keys() == expected.keys()
    for path, leaf in flatten(params).items():
        assert isinstance(leaf, np.ndarray)
        np.testing.assert_array_equal(leaf, expected[path])


@pytest.mark.parametrize("change", ["bit", "cut", "gone", "more"])
def test_every_change_of_a_file_is_noticed(folder, change):
    """orbax alone restores flipped bits without a word."""
    for path in [path for path in (folder / "params").rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        if change == "bit":
            path.write_bytes(bytes([whole[0] ^ 4]) + whole[1:])
        elif change == "cut":
            path.write_bytes(whole[:-1])
        elif change == "gone":
            path.unlink()
        else:
            (path.parent / "more").write_bytes(b"")
        with pytest.raises(WeightsError, match="damaged"):
            load_pretrained(folder)
        path.write_bytes(whole)
        (path.parent / "more").unlink(missing_ok=True)
    load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["gpt2_jax"].update(colour=1), "unknown keys colour"),
        (lambda values: values["gpt2_jax"].update(max_len=9), "are not those of its"),
        (
            lambda values: values["gpt2_jax"].update(num_layers=4),
            "are not those of its",
        ),
        (lambda values: values.pop("gpt2_jax"), "KeyError"),
        (lambda values: values.update(sha256=3), "no sha256"),
    ],
)
def test_a_config_that_is_not_the_folders_is_refused(folder, change, message):
    edit_config(folder, change)
    with pytest.raises(WeightsError, match=message):
        load_pretrained(folder)
