"""What fuzzing has found, each in its smallest form."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from fuzzing import bounded, dump
from helpers import TINY, random_params, write_hugging_face
from serve_helpers import StubClassifier, post, serving
from training_helpers import random_run

from gpt2_jax.cli.main import main
from gpt2_jax.config import GPT2Config, from_dict
from gpt2_jax.data.tables import read_table
from gpt2_jax.errors import DataError, WeightsError
from gpt2_jax.storage.sealed import SEAL
from gpt2_jax.weights import files
from gpt2_jax.weights.pretrained import read_pretrained
from gpt2_jax.weights.tensorflow_checkpoint import _MAX_KEY_BYTES, _block, _tensor
from gpt2_jax.weights.trained import MODEL_FILE, load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        # more than any Python's stack
        (b"[" * 10**6 + b"]" * 10**6, "nested too deeply"),
        (b'{"weights": "\xff"}', "can't decode"),
        (b'{"weights": "a", "weights": "b"}', "has twice: weights"),
        (dump({"weights": [[0] * 9] * 10**5}), "expected str, got [[0, 0, "),
        (dump({"train": {"seed": 2**70}}), "seed=1180591620717411303424 must be"),
        (dump({"data": {"split_seed": -1}}), "split_seed=-1 must be at least 0"),
    ],
)
def test_a_hostile_config_is_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert main(["finetune", "--dry-run", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 1000


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": {}}, "expected int"),
        ({"n_embd": None}, "expected int"),
        ({"vocab_size": 10**30}, "must be positive, below"),
        ({"n_positions": 2**40}, "must be positive, below"),
    ],
)
def test_sizes_that_are_none_are_refused(changes, message, tmp_path):
    folder = write_hugging_face(tmp_path / "hf", TINY, random_params(TINY))
    path = folder / "config.json"
    path.write_bytes(dump(json.loads(path.read_text()) | changes))
    with pytest.raises(WeightsError, match=message):
        read_pretrained(folder)


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "changes",
    [
        {"max_length": float("inf")},
        {"max_length": 0},
        {"max_length": 10**9},
        {"temperature": float("nan")},
        {"temperature": 0},
        {"temperature": 10**400},
    ],
)
def test_a_classifier_json_that_cannot_be_is_refused(changes, tmp_path):
    path = random_run(tmp_path) / "model" / MODEL_FILE
    path.write_bytes(dump(_unsealed(path) | changes))
    with pytest.raises(WeightsError, match=MODEL_FILE):
        load_model(tmp_path)


def _unsealed(path):
    """Return the values of a file of ours without their hash, which would tell."""
    values = json.loads(path.read_text())
    del values[SEAL]
    return values


@pytest.mark.fault(24)
def test_a_classifier_json_of_a_billion_layers_is_refused_at_once(tmp_path):
    path = random_run(tmp_path) / "model" / MODEL_FILE
    values = _unsealed(path)
    values["config"]["num_layers"] = 10**9
    path.write_bytes(dump(values))
    with bounded(), pytest.raises(WeightsError, match="are not those of"):
        load_model(tmp_path)


@pytest.mark.fault(29)
def test_a_value_of_2_to_the_60_leaves_is_shown_in_short():
    """A pickle can make one of a few bytes, as nanoGPT's model_args for example."""
    bomb: list[object] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with bounded(), pytest.raises(ValueError, match="expected int, got") as caught:
        from_dict(GPT2Config, {"num_layers": bomb})
    assert len(str(caught.value)) < 1000


@pytest.mark.fault(22)
def test_an_index_may_name_a_file_that_no_disk_can_have(tmp_path):
    folder = shutil.copytree(GOLDEN / "hf_bin_sharded", tmp_path / "hf")
    (folder / files.TORCH_INDEX).write_bytes(dump({"weight_map": {"a": "x" * 999}}))
    # To pathlib of Python 3.14 such a file is not there; before, it was an error.
    with pytest.raises(WeightsError, match=r"cannot be read|no such file"):
        files.read_contents(folder)


@pytest.mark.fault(22)
def test_an_entry_of_tensorflow_without_its_fields_is_refused():
    with io.FileIO(os.devnull) as file, pytest.raises(LookupError):
        _tensor(file, 0, b"")  # which `read` turns into words


@pytest.mark.fault(22)
def test_names_that_grow_out_of_a_few_bytes_are_refused(monkeypatch):
    from gpt2_jax.weights import tensorflow_checkpoint

    monkeypatch.setattr(tensorflow_checkpoint, "_masked_crc32c", lambda content: 0)
    # key of 200 bytes; then, with 200 shared ones, 200 more
    first = b"\x00\xc8\x01\x00" + b"a" * 200
    entries = first + b"\xc8\x01\xc8\x01\x00" + b"b" * 200
    block = entries + bytes(4) + b"\x00" + bytes(4)
    with pytest.raises(ValueError, match="a name of 400 bytes"):
        list(_block(block + bytes(9), 0, len(entries) + 4))
    assert _MAX_KEY_BYTES < 400


@pytest.mark.fault(34)
def test_codecs_that_are_no_plain_tables_fail_in_words(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\na,b-!!!\n")
    with pytest.raises(DataError, match=r"(?i)x\.csv.* not punycode"):
        read_table(path, encoding="punycode")


@pytest.mark.fault(41)
def test_a_key_with_a_newline_gives_a_message_of_one_line():
    with serving(StubClassifier()) as service:
        answer = service.send(post(b'{"texts": ["a"], "a\\nb": 1}'))
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert "\n" not in error and "a\\nb" in error


@pytest.mark.fault(41)
def test_a_body_that_is_no_http_is_refused_once_and_without_a_traceback(caplog):
    broken = b"transfer-encoding: chunked\r\n\r\nzz\r\n"
    good = post(b"").removesuffix(b"\r\n").replace(b"content-length: 0\r\n", b"")
    with serving(StubClassifier()) as service:
        answer = service.send(good + broken)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 400 ")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
