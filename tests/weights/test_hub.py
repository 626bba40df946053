"""Weights on the hub, by id: its cache, revisions, tokens, no network, and refusals."""

import json
import os
import socket

import numpy as np
import pytest
import safetensors.numpy
from file_server import Answer, serve
from helpers import TINY, random_params, write_hugging_face
from hub_server import add_repo, use
from tokenizers_of_others import write_folder

from gpt2_jax.cli.main import main
from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import hub
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained, read_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE

pytest.importorskip("huggingface_hub")

PARAMS = random_params(TINY)
COMMIT, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


@pytest.fixture
def server(cache, monkeypatch):
    with serve() as server:
        use(server, monkeypatch, str(cache))
        yield server


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The files of a small GPT-2."""
    folder = write_hugging_face(tmp_path_factory.mktemp("hf"), TINY, PARAMS)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def embedding(name, **given):
    return load_pretrained(name, **given)[1]["wte"]["embedding"]


@pytest.mark.parametrize("repo", ["own/model", "gpt2"])
def test_any_id_is_downloaded_once_and_then_is_in_the_cache(server, cache, model, repo):
    add_repo(server, repo, {**model, "big.bin": b"x"}, commit=COMMIT)
    np.testing.assert_array_equal(embedding(repo), PARAMS["wte"]["embedding"])
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    assert {path.name for path in snapshot.iterdir()} == set(model)  # and no big.bin
    asked = [path for path in server.paths if "/resolve/" in path]
    embedding(repo)
    assert [path for path in server.paths if "/resolve/" in path] == asked
    # the root of the cache's folder, as one finds it there
    np.testing.assert_array_equal(embedding(folder), PARAMS["wte"]["embedding"])


def test_a_revision_is_that_one(server, model):
    other = dict(model)
    state = to_state_dict(random_params(TINY, seed=1), HUGGING_FACE)
    other["model.safetensors"] = safetensors.numpy.save(state)
    add_repo(server, "own/model", model, commit=COMMIT)
    add_repo(server, "own/model", other, commit=OTHER, revisions=("v2",))
    for revision in ("v2", OTHER):
        got = embedding(f"own/model@{revision}")
        np.testing.assert_array_equal(got, state["wte.weight"])
    np.testing.assert_array_equal(embedding("own/model"), PARAMS["wte"]["embedding"])
    with pytest.raises(WeightsError, match="the hub has no revision 'v3' of it"):
        embedding("own/model@v3")


def test_a_path_wins_over_an_id(server, model, tmp_path):
    write_hugging_face(tmp_path / "own" / "model", TINY, PARAMS)
    embedding("own/model")
    assert not hub.is_id("own/model") and hub.is_id("own/other@v1.2")
    assert server.paths == server.heads == []
    for name in (
        "no.pth",
        "x.safetensors",
        "/no/such",
        "./a",
        "../a/b",
        "a/b/c",
        "a b",
    ):
        assert not hub.is_id(name), name


def test_the_tokenizer_of_a_repository_is_used(server, model, tmp_path):
    files = write_folder(tmp_path / "own")
    beside = {path.name: path.read_bytes() for path in files.iterdir()}
    add_repo(server, "own/model", {**model, **beside}, commit=COMMIT)
    with pytest.raises(WeightsError, match="the tokenizer has ids up to"):
        read_pretrained("own/model")  # of a vocabulary larger than TINY's


@pytest.mark.parametrize("name", ["pytorch_model.bin", "flax_model.msgpack"])
def test_what_a_repository_has_of_weights_is_taken(server, model, cache, name):
    files = {"config.json": model["config.json"], name: b"no weights"}
    add_repo(server, "own/model", files, commit=COMMIT)
    with pytest.raises(WeightsError, match=name):
        embedding("own/model")
    assert (cache / f"models--own--model/snapshots/{COMMIT}/{name}").is_file()


def test_shards_are_all_downloaded(server, model, cache):
    state = to_state_dict(PARAMS, HUGGING_FACE)
    names = sorted(state)
    parts = {"1.safetensors": names[::2], "2.safetensors": names[1::2]}
    where = {name: file for file, part in parts.items() for name in part}
    files = {
        file: safetensors.numpy.save({name: state[name] for name in part})
        for file, part in parts.items()
    }
    index = json.dumps({"weight_map": where}).encode()
    files["model.safetensors.index.json"] = index
    files["config.json"] = model["config.json"]
    add_repo(server, "own/model", files, commit=COMMIT)
    np.testing.assert_array_equal(embedding("own/model"), PARAMS["wte"]["embedding"])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"x.Q4.gguf": b"GGUF"}, r"own/model: a GGUF file \(x.Q4.gguf\)"),
        ({"README.md": b"#"}, "its repository has none of model.safetensors, .*README"),
        ({"tf_model.h5": b"HDF"}, r"an HDF5 file of Keras \(tf_model.h5\)"),
    ],
)
def test_a_repository_without_weights_of_ours_says_what_it_has(server, files, said):
    add_repo(server, "own/model", files, commit=COMMIT)
    with pytest.raises(WeightsError, match=said):
        embedding("own/model")


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", "no such model on the hub; for a private one log in"),
        (403, "GatedRepo", "its owner asks for conditions to be accepted"),
        (500, "", "it could not be had from the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_way(server, status, code, said):
    headers = {"X-Error-Code": code} if code else {}
    server.missing = lambda path: Answer(status=status, headers=headers)
    with pytest.raises(WeightsError, match=f"^own/model: .*{said}") as caught:
        embedding("own/model")
    assert "\n" not in str(caught.value)


def test_a_token_is_sent(server, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    add_repo(server, "own/model", model, commit=COMMIT)
    embedding("own/model")
    assert set(server.tokens) == {"Bearer hf_secret"}


class Blocked(socket.socket):
    def connect(self, *args):
        raise AssertionError(f"the network was used: {args}")


@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE=1"])
def test_offline_uses_the_cache_and_no_network(server, cache, model, monkeypatch, how):
    add_repo(server, "own/model", model, commit=COMMIT)
    embedding("own/model")
    monkeypatch.setattr(socket, "socket", Blocked)
    monkeypatch.setattr(socket, "getaddrinfo", Blocked.connect)
    if how != "--offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    flag = {"offline": how == "--offline"}
    got = embedding("own/model", **flag)
    np.testing.assert_array_equal(got, PARAMS["wte"]["embedding"])
    said = (
        f"own/other: no such file or folder, and no such model in the .*{how} forbids"
    )
    with pytest.raises(WeightsError, match=said):
        embedding("own/other", **flag)


def test_without_a_hub_the_cache_is_used(server, model, monkeypatch):
    add_repo(server, "own/model", model, commit=COMMIT)
    embedding("own/model")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody
    np.testing.assert_array_equal(embedding("own/model"), PARAMS["wte"]["embedding"])


def test_a_damaged_file_is_downloaded_again_and_refused_offline(server, cache, model):
    add_repo(server, "own/model", model, commit=COMMIT)
    embedding("own/model")
    file = cache / f"models--own--model/snapshots/{COMMIT}/model.safetensors"
    blob = file.parent / os.readlink(file)
    content = model["model.safetensors"]
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"damaged \(SHA-256 was"):
        embedding("own/model", offline=True)
    np.testing.assert_array_equal(embedding("own/model"), PARAMS["wte"]["embedding"])
    assert file.read_bytes() == content


def test_an_id_on_the_command_line(server, model, capsys):
    add_repo(server, "own/model", model, commit=COMMIT)
    assert main(["predict", "own/model@main", "a text"]) == 5
    error = capsys.readouterr().err
    assert "no classifier" in error and error.count("\n") == 1
    assert main(["predict", "own/none", "a text"]) == 5
    error = capsys.readouterr().err  # a line, and no bar where there is no terminal
    assert "no such model on the hub" in error and error.count("\n") == 1


def test_several_snapshots_and_no_main_need_a_choice(cache):
    for commit in (COMMIT, OTHER):
        (cache / "models--own--model" / "snapshots" / commit).mkdir(parents=True)
    with pytest.raises(WeightsError, match="2 snapshots and none is its main"):
        embedding(cache / "models--own--model")
