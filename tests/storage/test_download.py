"""A redirect may not lead from https to plain http."""

import pytest
from file_server import Answer, serve

from gpt2_jax.storage import download
from gpt2_jax.storage.download import refuse_plain_http


def test_redirects_may_not_leave_https():
    refuse_plain_http(["https://a/x", "https://b/y"])
    refuse_plain_http(["http://127.0.0.1/x", "http://127.0.0.1/y"])
    with pytest.raises(ValueError, match=r"redirected to plain http \(http://b/y\)"):
        refuse_plain_http(["https://a/x", "http://b/y", "https://c/z"])


def test_every_answer_is_checked_for_https(monkeypatch):
    """The hops that open_url checks are those that requests went through."""
    seen = []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "refuse_plain_http", seen.append)
    with serve() as server:
        moved = Answer(status=302, headers={"Location": "/file"})
        server.answers = {"/moved": moved, "/file": Answer(b"x")}
        with download.open_url(server.url + "/moved"):
            pass
        assert seen == [[server.url + "/moved", server.url + "/file"]]
