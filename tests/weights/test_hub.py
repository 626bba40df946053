"""Weights by name: the cache of huggingface_hub, hashes, mirrors, no network."""

import hashlib
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from file_server import Answer, serve
from helpers import TINY, random_params

from gpt2_jax.config import PRESETS
from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import download, range_requests
from gpt2_jax.weights import hub, hub_cache, pretrained
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.hub import MIRRORS, Mirror, find
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH

PARAMS = random_params(TINY)
HF = safetensors.numpy.save(to_state_dict(PARAMS, HUGGING_FACE))
RASBT = safetensors.numpy.save(to_state_dict(PARAMS, LLMS_FROM_SCRATCH))
COMMIT, MAIN = "a" * 40, "b" * 40
PINNED = f"/own/gpt2/resolve/{COMMIT}/model.safetensors"
UNPINNED = "/own/gpt2-medium/resolve/main/model.safetensors"
SECOND = "/rasbt/all/resolve/main/gpt2.safetensors"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and small models in place of the true ones."""
    second = Mirror("rasbt/all", "gpt2.safetensors")
    pinned = Mirror("own/gpt2", revision=COMMIT, sha256=sha256(HF), former="gpt2")
    mirrors = {
        "124M": (pinned, second),
        "355M": (Mirror("own/gpt2-medium"), second),
    }
    presets = {"124M": TINY, "355M": TINY}
    monkeypatch.setattr(hub, "MIRRORS", mirrors)
    monkeypatch.setattr(hub, "PRESETS", presets)
    monkeypatch.setattr(pretrained, "PRESETS", presets)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


@pytest.fixture
def server(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "CHUNK_BYTES", 1024)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 2.0)  # a busy machine
    monkeypatch.setattr(range_requests, "PAUSE_SECONDS", 0.0)
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        main = {"X-Repo-Commit": MAIN}
        server.answers[PINNED] = Answer(HF)
        server.answers[UNPINNED] = Answer(HF, headers=main)
        server.answers[SECOND] = Answer(RASBT, headers=main)
        yield server


def stored(cache, repo="own--gpt2"):
    """Return {path: content or target} of all that lies in the cache of a repo."""
    folder = cache / f"models--{repo}"
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def test_a_pinned_file_is_stored_as_huggingface_hub_stores_it(server, cache):
    path = find("124M")
    assert path == cache / f"models--own--gpt2/snapshots/{COMMIT}/model.safetensors"
    assert stored(cache) == {
        f"blobs/{sha256(HF)}": HF,
        f"snapshots/{COMMIT}/model.safetensors": f"../../blobs/{sha256(HF)}",
        "refs/main": COMMIT.encode(),
    }
    assert find("124M") == path
    assert server.paths == [PINNED]


def test_huggingface_hub_finds_what_was_downloaded_here(server, cache):
    library = pytest.importorskip("huggingface_hub")
    path = find("124M")
    for revision in (COMMIT, "main"):
        found = library.try_to_load_from_cache(
            "own/gpt2", "model.safetensors", cache_dir=cache, revision=revision
        )
        assert found == str(path)
    (repo,) = library.scan_cache_dir(cache).repos
    assert (repo.repo_id, repo.size_on_disk) == ("own/gpt2", len(HF))


@pytest.mark.parametrize("repo", ["own--gpt2", "gpt2"])
@pytest.mark.parametrize("commit", [COMMIT, "c" * 40])
def test_what_huggingface_hub_downloaded_is_used(server, cache, repo, commit):
    folder = cache / f"models--{repo}"
    path = folder / "snapshots" / commit / "model.safetensors"
    path.parent.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs" / sha256(HF)).write_bytes(HF)
    path.symlink_to(f"../../blobs/{sha256(HF)}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    assert find("124M") == path
    assert server.asked == []


def test_the_cache_is_where_huggingface_hub_looks(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub_cache.root() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub_cache.root() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert hub_cache.root() == tmp_path / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "$HF_HOME/../all")
    assert hub_cache.root() == tmp_path / "hf/../all"


def test_a_released_gpt2_loads_by_name(server):
    for name in ("124M", "355M"):
        config, params = load_pretrained(name)
        assert config == TINY
        ours = params["h_1"]["attn"]["c_attn"]["kernel"]
        np.testing.assert_array_equal(ours, PARAMS["h_1"]["attn"]["c_attn"]["kernel"])


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404),
        Answer(status=500),
        Answer(HF[:-1] + b"\x00"),
        Answer(HF, length=10 * len(HF)),
        Answer(HF, stops=len(HF) // 2, ranges=False),
        Answer(b"", stalls=1),
        Answer(HF * 900),
        Answer(b"<html>a proxy's page</html>"),
    ],
    ids=["404", "500", "bytes", "length", "cut", "stalls", "more", "page"],
)
def test_the_second_mirror_stands_in_for_the_first(server, cache, answer, monkeypatch):
    monkeypatch.setattr(range_requests, "ATTEMPTS", 2)
    server.answers[PINNED] = answer
    path = find("124M")
    assert path.read_bytes() == RASBT
    assert path.parts[-4:-1] == ("models--rasbt--all", "snapshots", MAIN)
    assert stored(cache, "own--gpt2").keys() <= {
        "blobs/model.safetensors.incomplete",
        "blobs/model.safetensors.incomplete.etag",
    }
    assert load_pretrained("124M")[0] == TINY


@pytest.mark.fault(31)
def test_when_all_mirrors_fail_each_is_listed(server, cache):
    server.answers = {
        PINNED: Answer(b"wrong"),
        SECOND: Answer(HF[:-8], headers={"X-Repo-Commit": MAIN}),
    }
    with pytest.raises(WeightsError) as caught:
        load_pretrained("124M")
    first, second = str(caught.value).split("; ")
    assert first == (
        f"124M could not be downloaded: {server.url}{PINNED}: SHA-256 expected "
        f"{sha256(HF)}, got {sha256(b'wrong')}"
    )
    assert second.startswith(f"{server.url}{SECOND}: not a whole safetensors file")
    assert stored(cache) == {} == stored(cache, "rasbt--all")


def test_a_download_that_broke_off_goes_on_in_the_next_process(
    server, cache, monkeypatch
):
    half = 1024 * (len(HF) // 2048)
    server.answers = {PINNED: Answer(HF, stops=half)}
    monkeypatch.setattr(range_requests, "ATTEMPTS", 1)
    with pytest.raises(WeightsError, match="broke off 1 times"):
        find("124M")
    assert stored(cache)["blobs/model.safetensors.incomplete"] == HF[:half]
    server.answers = {PINNED: Answer(HF)}
    server.asked.clear()
    assert find("124M").read_bytes() == HF
    assert server.asked == [(PINNED, f"bytes={half}-", '"v1"')]
    assert set(stored(cache)) == {
        f"blobs/{sha256(HF)}",
        f"snapshots/{COMMIT}/model.safetensors",
        "refs/main",
    }


@pytest.mark.parametrize("told", [None, sha256(HF)])
def test_an_unknown_hash_is_told_and_kept(server, cache, caplog, monkeypatch, told):
    if told:
        server.answers[UNPINNED].headers = {
            "X-Repo-Commit": MAIN,
            "X-Linked-Etag": f'"{told}"',
        }
    # the command line turns it off, if a test ran it before
    monkeypatch.setattr(logging.getLogger("gpt2_jax"), "propagate", True)
    with caplog.at_level("INFO", "gpt2_jax"):
        path = find("355M")
    assert "knows no SHA-256 of this file" in caplog.text
    assert ("the server told the same" in caplog.text) == bool(told)
    assert sha256(HF) in caplog.text
    assert path.resolve().name == sha256(HF)
    assert (cache / "models--own--gpt2-medium/refs/main").read_text() == MAIN
    path.resolve().write_bytes(HF[:-1] + b"\x00")  # a later change
    with pytest.raises(WeightsError, match=rf"damaged \(SHA-256 was {sha256(HF)}"):
        find("355M", offline=True)
    assert find("355M").read_bytes() == HF  # downloaded again


def test_a_hash_that_the_hub_tells_is_held_against_the_file(server):
    headers = {"X-Repo-Commit": MAIN, "X-Linked-Etag": f'"{"0" * 64}"'}
    server.answers = {UNPINNED: Answer(HF, headers=headers)}
    with pytest.raises(WeightsError, match=f"SHA-256 expected {'0' * 64}"):
        find("355M")


def test_a_model_of_another_size_is_not_kept(server, cache, monkeypatch):
    def state(change):
        tensors = to_state_dict(PARAMS, HUGGING_FACE)
        change(tensors)
        return safetensors.numpy.save(tensors)

    def fewer(tensors):
        for name in [name for name in tensors if name.startswith("h.2.")]:
            del tensors[name]

    def more(tensors):
        extra = {n.replace("h.2.", "h.3."): v for n, v in tensors.items()}
        tensors.update(extra)

    def wider(tensors):
        tensors["wte.weight"] = np.ones((61, 13), np.float32)

    for change in (fewer, more, wider):
        answer = Answer(state(change), headers={"X-Repo-Commit": MAIN})
        server.answers = {UNPINNED: answer}
        with pytest.raises(WeightsError, match="not a GPT-2 of 3 layers and width 12"):
            find("355M")
        assert stored(cache, "own--gpt2-medium") == {}


def test_a_server_that_names_no_commit_is_no_hub(server, cache):
    server.answers = {UNPINNED: Answer(HF)}
    with pytest.raises(WeightsError, match="does not tell which commit"):
        find("355M")
    assert stored(cache, "own--gpt2-medium") == {}


class Blocked(socket.socket):
    def connect(self, *args):
        raise AssertionError(f"the network was used: {args}")


@pytest.mark.fault(31)
@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE=1"])
def test_offline_uses_no_network(cache, monkeypatch, how):
    monkeypatch.setattr(socket, "socket", Blocked)
    monkeypatch.setattr(socket, "getaddrinfo", Blocked.connect)
    if how != "--offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=rf"124M: not in {cache}, and {how} forbids"):
        load_pretrained("124M", offline=how == "--offline")
    assert not cache.exists()


def test_offline_loads_from_the_cache(server, monkeypatch):
    find("124M")
    monkeypatch.setattr(socket, "socket", Blocked)
    assert load_pretrained("124M", offline=True)[0] == TINY


PROCESS = """
import sys
from gpt2_jax.weights import hub
from gpt2_jax.weights.hub import Mirror
hub.MIRRORS = {"124M": (Mirror("own/gpt2", revision="a" * 40, sha256=sys.argv[1]),)}
print(hub.find("124M"))
"""


def test_processes_share_one_download(server, cache):
    server.answers[PINNED].delay = 1.0  # the others start meanwhile
    argv = [sys.executable, "-c", PROCESS, sha256(HF)]
    processes = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    path = cache / f"models--own--gpt2/snapshots/{COMMIT}/model.safetensors"
    assert outputs == {f"{path}\n"}
    assert server.paths == [PINNED]
    assert path.read_bytes() == HF


def test_every_released_size_has_two_mirrors_and_124m_is_pinned():
    assert list(MIRRORS) == ["124M", "355M", "774M", "1558M"]
    for mirrors in MIRRORS.values():
        assert [m.repo.split("/")[0] for m in mirrors] == ["openai-community", "rasbt"]
    assert MIRRORS["124M"][0].sha256 is not None
    # REFERENCE: 548,105,171 bytes; with an untied head 702.5 MB
    assert 702_500_000 < hub._most_bytes(PRESETS["124M"]) < 704_000_000
