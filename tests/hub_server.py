"""What huggingface_hub asks of the hub, answered on 127.0.0.1."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from file_server import Answer, FileServer


def add_repo(
    server: FileServer,
    repo: str,
    files: Mapping[str, bytes],
    *,
    commit: str,
    revisions: Sequence[str] = ("main",),
) -> None:
    """Let the server have a repository; every file counts as a large one."""
    listed: list[dict[str, Any]] = []
    for name, body in files.items():
        sha256 = hashlib.sha256(body).hexdigest()
        oid = hashlib.sha1(body).hexdigest()
        lfs = {"oid": sha256, "size": len(body), "pointerSize": 1}
        listed.append(
            {"type": "file", "path": name, "size": len(body), "oid": oid, "lfs": lfs}
        )
        headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{sha256}"'}
        for revision in (*revisions, commit):
            path = f"/{repo}/resolve/{revision}/{name}"
            server.answers[path] = Answer(body, etag=f'"{oid}"', headers=headers)
    siblings = [{"rfilename": name} for name in files]
    info = {"id": repo, "sha": commit, "siblings": siblings, "private": False}
    told = Answer(json.dumps(info).encode(), etag=None)
    for revision in (*revisions, commit):
        server.answers[f"/api/models/{repo}/revision/{revision}"] = told
    server.answers[f"/api/models/{repo}"] = told
    tree = Answer(json.dumps(listed).encode(), etag=None)
    server.answers[f"/api/models/{repo}/tree/{commit}"] = tree


def accept_uploads(server: FileServer, commit: str) -> None:
    """Take what `hf upload` sends: the next commit is this one.

    Files that say so are large: they come by Git LFS's batch API, as they do where
    hf_xet is not installed, and all others in the commit itself.
    """
    large: dict[str, bytes] = {}

    def told(value: Any, status: int = 200) -> Answer:
        return Answer(json.dumps(value).encode(), status, etag=None)

    def sent(path: str, body: bytes) -> Answer:
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            add_repo(server, repo, {}, commit="0" * 40)
            return told({"url": f"{server.url}/{repo}", "id": repo})
        if path == "/api/validate-yaml":  # a README
            return told({"errors": [], "warnings": []})
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            for file in files:
                is_large = file["path"].endswith((".safetensors", ".onnx"))
                file["uploadMode"] = "lfs" if is_large else "regular"
            return told({"files": [{**file, "shouldIgnore": False} for file in files]})
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for each in objects:
                href = f"{server.url}/lfs/{each['oid']}"
                each["actions"] = {"upload": {"href": href}}
            return told({"transfer": "basic", "objects": objects})
        if path.startswith("/lfs/"):
            large[path.removeprefix("/lfs/")] = body
            return Answer()
        repo, _, revision = path.removeprefix("/api/models/").partition("/commit/")
        if not revision:
            return Answer(status=404)
        files = {}
        for line in body.splitlines():
            match json.loads(line):
                case {"key": "file", "value": {"path": name, "content": content}}:
                    files[name] = base64.b64decode(content)
                case {"key": "lfsFile", "value": {"path": name, "oid": oid}}:
                    files[name] = large[oid]
        add_repo(server, repo, files, commit=commit, revisions=(revision,))
        return told(
            {"commitUrl": f"{server.url}/{repo}/commit/{commit}", "commitOid": commit}
        )

    server.sent = sent


def use(server: FileServer, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    """Make huggingface_hub ask the server, which knows what it lacks."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_CACHE", cache)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def missing(path: str) -> Answer:
        parts = path.removeprefix("/api/models").split("/")
        repo = "/".join(parts[1:3])
        if not any(known.startswith(f"/{repo}/") for known in server.answers):
            return Answer(status=404, headers={"X-Error-Code": "RepoNotFound"})
        commits = [
            answer.headers["X-Repo-Commit"]
            for known, answer in server.answers.items()
            if known.startswith("/".join(path.split("/")[:5]) + "/")
            and "X-Repo-Commit" in answer.headers
        ]
        if "/resolve/" in path and commits:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commits[0]}
            return Answer(status=404, headers=headers)
        return Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"})

    server.missing = missing
