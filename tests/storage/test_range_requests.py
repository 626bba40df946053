"""A download goes on where it stopped, and never mixes two versions of a file."""

import io
import socket
import sys

import pytest
import requests
from file_server import Answer, serve

from gpt2_jax.storage import download, range_requests
from gpt2_jax.storage.download import refuse_plain_http
from gpt2_jax.storage.range_requests import discard, fetch

CONTENT = bytes(range(256)) * 40
LIMIT = len(CONTENT)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "CHUNK_BYTES", 64)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 2.0)  # a busy machine
    monkeypatch.setattr(range_requests, "PAUSE_SECONDS", 0.0)
    with serve() as server:
        server.answers["/file"] = Answer(CONTENT)
        yield server


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "file.incomplete"


def get(server, partial, *, max_bytes=LIMIT):
    return fetch(server.url + "/file", partial, max_bytes=max_bytes, title="file")


def begin(server, partial, num_bytes):
    """Leave a partial of `num_bytes`, as a process that was killed would."""
    answer = server.answers["/file"]
    server.answers["/file"] = Answer(CONTENT, stops=num_bytes, etag=answer.etag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_requests, "ATTEMPTS", 1)
        with pytest.raises(ValueError, match="broke off 1 times"):
            get(server, partial)
    assert partial.stat().st_size == num_bytes
    server.answers["/file"] = answer
    server.asked.clear()


def test_a_whole_file_comes_in_one_answer(server, partial):
    headers = get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert server.asked == [("/file", None, None)]
    assert headers["etag"] == '"v1"'


@pytest.mark.fault(31)
@pytest.mark.parametrize("fault", [{"stops": 5120}, {"stalls": 5120}])
def test_a_broken_connection_is_taken_up_where_it_broke(server, partial, fault):
    server.answers["/file"] = Answer(CONTENT, **fault)
    get(server, partial)
    assert partial.read_bytes() == CONTENT
    starts = range(5120, len(CONTENT), 5120)
    assert server.ranges == [None, *(f"bytes={start}-" for start in starts)]


def test_the_next_process_goes_on_with_what_the_last_one_left(server, partial):
    begin(server, partial, 640)
    get(server, partial)
    assert server.asked == [("/file", "bytes=640-", '"v1"')]
    assert partial.read_bytes() == CONTENT


def test_another_version_is_downloaded_from_its_start(server, partial):
    begin(server, partial, 640)
    other = CONTENT[::-1]
    server.answers["/file"] = Answer(other, etag='"v2"')
    get(server, partial)
    assert server.asked == [("/file", "bytes=640-", '"v1"')]
    assert partial.read_bytes() == other
    begin_again = Answer(other, etag='"v2"', stops=64)  # its ETag is the one kept now
    server.answers["/file"] = begin_again
    discard(partial)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError):
        patch.setattr(range_requests, "ATTEMPTS", 2)
        get(server, partial)
    assert server.asked[-1] == ("/file", "bytes=64-", '"v2"')


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_etag_a_download_starts_again(server, partial, etag):
    server.answers["/file"].etag = etag
    begin(server, partial, 640)
    get(server, partial)
    assert server.ranges == [None]
    assert partial.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_all_of_it_again(server, partial):
    begin(server, partial, 640)
    server.answers["/file"].ranges = False
    get(server, partial)
    assert server.ranges == ["bytes=640-"]
    assert partial.read_bytes() == CONTENT


def test_a_part_that_was_not_asked_for_is_refused(server, partial):
    begin(server, partial, 640)
    server.answers["/file"].shift = 1
    with pytest.raises(ValueError, match="asked for the bytes from 640, got bytes 641"):
        get(server, partial)
    assert partial.read_bytes() == CONTENT[:640]


def test_a_partial_that_holds_everything_is_downloaded_again(server, partial):
    """The process was killed after the last byte; 416 says that none is left."""
    begin(server, partial, 640)
    partial.write_bytes(CONTENT)
    get(server, partial)
    assert server.ranges == [f"bytes={len(CONTENT)}-", None]
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_final_and_keeps_what_is_there(server, partial, status):
    begin(server, partial, 640)
    server.answers["/file"] = Answer(CONTENT, status=status)
    with pytest.raises(requests.HTTPError, match=str(status)):
        get(server, partial)
    assert len(server.asked) == 1
    assert partial.stat().st_size == 640


def test_a_server_that_gives_nothing_is_asked_once(server, partial):
    server.answers["/file"] = Answer(b"", length=99)
    with pytest.raises(requests.RequestException):
        get(server, partial)
    assert len(server.asked) == 1


def test_a_connection_that_always_breaks_is_given_up(server, partial, monkeypatch):
    monkeypatch.setattr(range_requests, "ATTEMPTS", 3)
    server.answers["/file"] = Answer(CONTENT, stops=64)
    with pytest.raises(ValueError, match="broke off 3 times"):
        get(server, partial)
    assert server.ranges == [None, "bytes=64-", "bytes=128-"]


def test_too_much_is_refused_before_a_byte_of_it_is_read(server, partial):
    with pytest.raises(ValueError, match=r"10240 bytes, more than the 10239 expected"):
        get(server, partial, max_bytes=LIMIT - 1)
    assert not partial.exists()
    begin(server, partial, 640)
    with pytest.raises(ValueError, match="10240 bytes, more than the 10239"):
        get(server, partial, max_bytes=LIMIT - 1)
    assert partial.stat().st_size == 640


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_terminal_sees_how_far_it_is(server, partial, monkeypatch, stream):
    terminal = stream()
    monkeypatch.setattr(sys, "stderr", terminal)
    begin(server, partial, 640)
    get(server, partial)
    bar = terminal.getvalue()
    if stream is Terminal:
        assert "file: 100%" in bar and "10.2k/10.2k" in bar
    else:
        assert bar == ""


def test_nobody_at_the_address_is_an_error(server, partial):
    with socket.socket() as closed:  # bound but not listening: it refuses
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(requests.ConnectionError):
            fetch(url, partial, max_bytes=LIMIT, title="file")


def test_headers_of_the_first_answer_count(server, partial):
    where = {"Location": server.url + "/cdn", "X-Repo-Commit": "abc"}
    server.answers["/file"] = Answer(status=302, headers=where)
    server.answers["/cdn"] = Answer(CONTENT, headers={"X-Repo-Commit": "cdn"})
    assert get(server, partial)["x-repo-commit"] == "abc"
    assert partial.read_bytes() == CONTENT


@pytest.mark.fault(31)
def test_redirects_may_not_leave_https():
    refuse_plain_http(["https://a/x", "https://b/y"])
    refuse_plain_http(["http://127.0.0.1/x", "http://127.0.0.1/y"])
    with pytest.raises(ValueError, match=r"redirected to plain http \(http://b/y\)"):
        refuse_plain_http(["https://a/x", "http://b/y", "https://c/z"])


def test_every_answer_is_checked_for_https(server, monkeypatch):
    """The hops that open_url checks are those that requests went through."""
    seen = []
    monkeypatch.setattr(download, "refuse_plain_http", seen.append)
    server.answers["/moved"] = Answer(status=302, headers={"Location": "/file"})
    with download.open_url(server.url + "/moved"):
        pass
    assert seen == [[server.url + "/moved", server.url + "/file"]]
