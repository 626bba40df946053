"""The released GPT-2s by size: pinned hashes, mirrors, the cache, no network."""

import hashlib
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from file_server import Answer, serve
from helpers import TINY, random_params
from hub_server import add_repo, use

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights import pretrained, released
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.released import MIRRORS, Mirror, find
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH

PARAMS = random_params(TINY)
HF = safetensors.numpy.save(to_state_dict(PARAMS, HUGGING_FACE))
RASBT = safetensors.numpy.save(to_state_dict(PARAMS, LLMS_FROM_SCRATCH))
COMMIT, MAIN = "a" * 40, "b" * 40
FILE = "model.safetensors"


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
    monkeypatch.setattr(released, "MIRRORS", mirrors)
    monkeypatch.setattr(pretrained, "PRESETS", {"124M": TINY, "355M": TINY})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


@pytest.fixture
def server(cache, monkeypatch):
    with serve() as server:
        use(server, monkeypatch, str(cache))
        add_repo(server, "own/gpt2", {FILE: HF}, commit=COMMIT)
        add_repo(server, "own/gpt2-medium", {FILE: HF}, commit=MAIN)
        add_repo(server, "rasbt/all", {"gpt2.safetensors": RASBT}, commit=MAIN)
        yield server


def test_a_released_gpt2_loads_by_name_and_stays_in_the_cache(server, cache):
    for name in ("124M", "355M"):
        config, params = load_pretrained(name)
        assert config == TINY
        ours = params["h_1"]["attn"]["c_attn"]["kernel"]
        np.testing.assert_array_equal(ours, PARAMS["h_1"]["attn"]["c_attn"]["kernel"])
    asked = len(server.paths) + len(server.heads)
    path = find("124M")
    assert path == cache / f"models--own--gpt2/snapshots/{COMMIT}/{FILE}"
    assert find("355M").read_bytes() == HF
    assert len(server.paths) + len(server.heads) == asked


@pytest.mark.parametrize("repo", ["own--gpt2", "gpt2"])
@pytest.mark.parametrize("commit", [COMMIT, "c" * 40])
def test_what_others_downloaded_is_used(server, cache, repo, commit):
    folder = cache / f"models--{repo}"
    path = folder / "snapshots" / commit / FILE
    path.parent.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs" / sha256(HF)).write_bytes(HF)
    path.symlink_to(f"../../blobs/{sha256(HF)}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    assert find("124M") == path
    assert server.asked == [] == server.heads


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    "change",
    [
        lambda answer: Answer(status=404, headers={"X-Error-Code": "EntryNotFound"}),
        lambda answer: Answer(status=401, headers={"X-Error-Code": "RepoNotFound"}),
        lambda answer: Answer(HF[:-1] + b"\x00", headers=answer.headers),
        lambda answer: Answer(HF, headers={}),  # no hub: it names no commit
    ],
    ids=["404", "401", "bytes", "no commit"],
)
def test_the_second_mirror_stands_in_for_the_first(server, change):
    for path, answer in list(server.answers.items()):
        if path.startswith("/own/gpt2/resolve/"):
            server.answers[path] = change(answer)
    path = find("124M")
    assert path.read_bytes() == RASBT
    assert path.parts[-4:-1] == ("models--rasbt--all", "snapshots", MAIN)
    assert load_pretrained("124M")[0] == TINY


@pytest.mark.fault(31)
def test_when_all_mirrors_fail_each_is_listed(server):
    for path, answer in list(server.answers.items()):
        if "/resolve/" in path:
            server.answers[path] = Answer(b"wrong", headers=answer.headers)
    with pytest.raises(WeightsError) as caught:
        load_pretrained("124M")
    said = str(caught.value)
    assert said.startswith("124M could not be downloaded: own/gpt2/model.safetensors")
    assert f"(SHA-256 was {sha256(HF)}, now is {sha256(b'wrong')})" in said
    assert "rasbt/all/gpt2.safetensors at main: " in said and "\n" not in said


def test_an_unknown_hash_is_told_and_a_later_change_noticed(
    server, cache, caplog, monkeypatch
):
    # the command line turns it off, if a test ran it before
    monkeypatch.setattr(logging.getLogger("gpt2_jax"), "propagate", True)
    with caplog.at_level("INFO", "gpt2_jax"):
        path = find("355M")
    assert "knows no SHA-256 of this file" in caplog.text and sha256(HF) in caplog.text
    blob = path.parent / os.readlink(path)
    blob.write_bytes(HF[:-1] + b"\x00")
    with pytest.raises(WeightsError, match=rf"damaged \(SHA-256 was {sha256(HF)}"):
        find("355M", offline=True)
    assert find("355M").read_bytes() == HF  # downloaded again


@pytest.mark.fault(31)
@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE=1"])
def test_offline_uses_no_network(server, cache, monkeypatch, how):
    if how != "--offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=rf"124M: not in {cache}, and {how} forbids"):
        load_pretrained("124M", offline=how == "--offline")
    assert server.asked == [] == server.heads
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    find("124M")
    assert load_pretrained("124M", offline=True)[0] == TINY


PROCESS = """
import sys
from gpt2_jax.weights import released
from gpt2_jax.weights.released import Mirror
mirror = Mirror("own/gpt2", revision="a" * 40, sha256=sys.argv[1])
released.MIRRORS = {"124M": (mirror,)}
print(released.find("124M"))
"""


@pytest.mark.slow
def test_processes_share_one_download(server, cache):
    server.answers[f"/own/gpt2/resolve/{COMMIT}/{FILE}"].delay = 1.0
    argv = [sys.executable, "-c", PROCESS, sha256(HF)]
    processes = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    path = cache / f"models--own--gpt2/snapshots/{COMMIT}/{FILE}"
    assert outputs == {f"{path}\n"}
    assert path.read_bytes() == HF


def test_every_released_size_has_two_mirrors_and_124m_is_pinned():
    assert list(MIRRORS) == ["124M", "355M", "774M", "1558M"]
    for mirrors in MIRRORS.values():
        assert [m.repo.split("/")[0] for m in mirrors] == ["openai-community", "rasbt"]
    assert MIRRORS["124M"][0].sha256 is not None
