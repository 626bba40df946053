import contextlib
import hashlib
import io
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data import sms_spam
from gpt2_jax.data.sms_spam import read_sms
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.storage.download import download

CONTENT = b'ham\thi there\nspam\twin "now\nham\tyo\nspam\tclick\n'


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zipped(content, name="SMSSpamCollection"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("readme", "x")
        file.writestr(name, content)
    return buffer.getvalue()


class _Server(ThreadingHTTPServer):
    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]]  # by path
    asked: list[str]  # paths


@pytest.fixture
def server(monkeypatch):
    """A server whose `answers` map a path to (status, headers, body)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    answers, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = answers[self.path]
            self.send_response(status)
            if "Content-Length" not in headers:
                headers = {"Content-Length": str(len(body)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client has seen enough
                self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    http = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    http.url = f"http://127.0.0.1:{http.server_port}"
    http.answers, http.asked = answers, asked
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server, target, *paths, size=1000):
    return download(
        [server.url + path for path in paths],
        target,
        sha256=sha256(CONTENT),
        max_bytes=size,
        error=DataError,
    )


def test_the_first_mirror_that_gives_the_file_is_used(server, tmp_path):
    server.answers |= {
        "/404": (404, {}, b""),
        "/500": (500, {}, b""),
        "/wrong": (200, {}, b"not it"),
        "/short": (200, {"Content-Length": "999"}, CONTENT[:20]),
        "/long": (200, {}, CONTENT * 100),
        "/moved": (302, {"Location": server.url + "/good"}, b""),
        "/good": (200, {}, CONTENT),
    }
    paths = ("/404", "/500", "/wrong", "/short", "/long", "/moved", "/never")
    target = fetch(server, tmp_path / "cache" / "file", *paths)
    assert target.read_bytes() == CONTENT
    assert "/never" not in server.asked
    assert [p.name for p in target.parent.iterdir()] == ["file"]


FAILURES = {
    "/404": ((404, {}, b""), "404 Client Error"),
    "/500": ((500, {}, CONTENT), "500 Server Error"),
    "/wrong": ((200, {}, b"not it"), f"SHA-256 expected {sha256(CONTENT)}, got "),
    "/long": ((200, {}, CONTENT * 100), "more than the 1000 bytes expected"),
    "/truncated": ((200, {"Content-Length": "999"}, CONTENT[:20]), "IncompleteRead"),
    "/empty": ((200, {}, b""), f"got {sha256(b'')}"),
}


@pytest.mark.fault(31)
@pytest.mark.parametrize("path", FAILURES)
def test_a_failed_download_leaves_nothing_and_harms_nothing(server, tmp_path, path):
    server.answers[path], reason = FAILURES[path]
    target = tmp_path / "file"
    with pytest.raises(DataError, match=f"file could not be downloaded.*{reason}"):
        fetch(server, target, path)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"what stood there")
    with pytest.raises(DataError, match=f"file could not be downloaded.*{reason}"):
        fetch(server, target, path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"what stood there"]


@pytest.mark.fault(31)
def test_when_all_mirrors_fail_each_is_listed(server, tmp_path):
    server.answers |= {path: answer for path, (answer, _) in FAILURES.items()}
    with socket.socket() as closed:  # bound but not listening: it refuses
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/nobody"
        urls = [nobody, *(server.url + path for path in FAILURES)]
        with pytest.raises(DataError) as caught:
            download(
                urls,
                tmp_path / "file",
                sha256=sha256(CONTENT),
                max_bytes=1000,
                error=DataError,
            )
    parts = str(caught.value).split("; ")
    assert parts[0].startswith(f"file could not be downloaded: {nobody}: ")
    for part, (path, (_, reason)) in zip(parts[1:], FAILURES.items(), strict=True):
        assert part.startswith(f"{server.url}{path}: ")
        assert reason in part
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(31)
def test_an_endless_answer_is_cut_off_at_the_limit(server, tmp_path):
    """No Content-Length, and more to come: the size is counted while it arrives."""
    endless = CONTENT * 400_000  # more than socket buffers hold: the server must wait
    server.answers["/endless"] = (200, {"Content-Length": str(10**12)}, endless)
    with pytest.raises(DataError, match="more than the 1000 bytes expected"):
        fetch(server, tmp_path / "file", "/endless")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_exactly_the_limit_is_taken(server, tmp_path):
    server.answers["/good"] = (200, {}, CONTENT)
    fetch(server, tmp_path / "file", "/good", size=len(CONTENT))
    limit = f"more than the {len(CONTENT) - 1} bytes expected"
    with pytest.raises(DataError, match=limit):
        fetch(server, tmp_path / "other", "/good", size=len(CONTENT) - 1)


@pytest.fixture
def cache(server, tmp_path, monkeypatch):
    """A small collection in place of the true one, served and pinned."""
    archive = zipped(CONTENT)
    server.answers["/zip"] = (200, {}, archive)
    monkeypatch.delenv("GPT2_JAX_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(sms_spam, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(sms_spam, "SMS_URLS", (server.url + "/zip",))
    monkeypatch.setattr(sms_spam, "SMS_ZIP_SHA256", sha256(archive))
    monkeypatch.setattr(sms_spam, "SMS_ZIP_BYTES", len(archive))
    monkeypatch.setattr(sms_spam, "SMS_SHA256", sha256(CONTENT))
    monkeypatch.setattr(sms_spam, "SMS_BYTES", len(CONTENT))
    return tmp_path / "cache"


def test_the_collection_is_downloaded_once_and_checked(server, cache):
    config = DataConfig(source="sms-spam")
    dataset = load_dataset(config)
    assert dataset.texts == ("hi there", 'win "now', "yo", "click")
    assert dataset.classes == ("ham", "spam")
    load_dataset(config)
    assert server.asked == ["/zip"]
    (cache / "sms-spam.zip").write_bytes(b"damaged")
    assert load_dataset(config) == dataset
    assert server.asked == ["/zip", "/zip"]


@pytest.mark.fault(31)
def test_an_archive_that_is_not_the_pinned_one_is_refused(server, cache):
    server.answers["/zip"] = (200, {}, zipped(CONTENT.replace(b"hi", b"ho")))
    with pytest.raises(DataError, match=rf"{server.url}/zip: SHA-256 expected"):
        load_dataset(DataConfig(source="sms-spam"))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("change", [b"", b"ham\tmore\n" * 10])
def test_a_member_that_is_not_the_pinned_one_is_refused(
    server, cache, monkeypatch, change
):
    archive = zipped(CONTENT[:-1] + change)  # the archive is right, its member is not
    server.answers["/zip"] = (200, {}, archive)
    monkeypatch.setattr(sms_spam, "SMS_ZIP_SHA256", sha256(archive))
    monkeypatch.setattr(sms_spam, "SMS_ZIP_BYTES", len(archive))
    expected = f"not the SMS Spam Collection: SHA-256 expected {sha256(CONTENT)}"
    with pytest.raises(DataError, match=expected):
        load_dataset(DataConfig(source="sms-spam"))


def test_the_collection_is_read_offline_from_a_folder(
    server, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("GPT2_JAX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="GPT2_JAX_DATA must name the folder"):
        load_dataset(DataConfig(source="sms-spam"))
    (tmp_path / "SMSSpamCollection").write_bytes(CONTENT)
    dataset = load_dataset(DataConfig(source="sms-spam"))
    assert dataset.texts == ("hi there", 'win "now', "yo", "click")
    assert dataset.sha256 == sha256(CONTENT)
    (tmp_path / "SMSSpamCollection").write_bytes(CONTENT + b"ham\tmore\n")
    with pytest.raises(DataError, match="SHA-256 expected"):
        load_dataset(DataConfig(source="sms-spam"))
    assert server.asked == []


@pytest.mark.fault(31)
@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE=1"])
def test_offline_uses_what_was_downloaded_and_no_network(
    server, cache, monkeypatch, how
):
    config, offline = DataConfig(source="sms-spam"), how == "--offline"
    if not offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        DataError, match=f"{how} forbids to download it from {server.url}"
    ):
        load_dataset(config, offline=offline)
    assert server.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    load_dataset(config)
    assert len(load_dataset(config, offline=True).texts) == 4


def test_the_collections_own_file_is_known_by_its_hash(cache, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(CONTENT)
    assert len(load_dataset(DataConfig(source=str(path))).texts) == 4


def test_the_true_collection_is_the_pinned_one(sms_path, monkeypatch):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    dataset = load_dataset(DataConfig(source="sms-spam"))
    assert len(dataset.texts) == 5_574
    assert dataset.classes == ("ham", "spam")
    assert sum(dataset.labels) == 747
    assert load_dataset(DataConfig(source=str(sms_path))).texts == dataset.texts


def test_all_messages_are_read_and_quotes_are_not_special(sms_path):
    raw = sms_path.read_bytes()
    table = read_sms(raw, book=False)
    assert len(table.texts) == 5_574
    lines = zip(table.labels, table.texts, strict=True)
    assert "".join(f"{label}\t{text}\n" for label, text in lines).encode() == raw


def test_the_book_reads_two_messages_fewer(sms_path):
    raw = sms_path.read_bytes()
    table, everything = read_sms(raw, book=True), read_sms(raw, book=False)
    assert len(table.texts) == 5_572
    assert table.labels.count("spam") == everything.labels.count("spam") == 747
    (swallowing,) = (text for text in table.texts if "\n" in text)
    assert swallowing.count("\nham\t") == 2


def test_the_book_reads_what_pandas_reads(sms_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(sms_path, sep="\t", header=None)
    table = read_sms(sms_path.read_bytes(), book=True)
    assert list(table.labels) == list(frame[0])
    assert list(table.texts) == list(frame[1])


def test_the_demo_data_keep_their_promises():
    dataset = load_dataset(DataConfig())
    assert len(dataset.texts) >= 1_200
    assert len(set(dataset.texts)) == len(dataset.texts)
    assert dataset.classes == ("ham", "spam")
    assert sum(dataset.labels) * 2 == len(dataset.labels)
    assert dataset.groups is not None and len(set(dataset.groups)) >= 80


@pytest.mark.parametrize("source", ["demo", "sms-spam", "imdb"])
@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("text_column", "body", "--text-column"),
        ("group_column", "sender", "--group-column"),
        ("header", False, "--header"),
        ("encoding", "cp1252", "--encoding"),
        ("test_data", "test.csv", "--test-data"),
        ("labels_file", "labels.txt", "--labels-file"),
        ("label_names", "names.txt", "--label-names"),
    ],
)
def test_what_is_said_of_files_is_refused_where_there_are_none(
    source, field, value, flag
):
    config = DataConfig(source=source, **{field: value})
    with pytest.raises(DataError, match=f"^{source}: a dataset .* omit {flag}$"):
        load_dataset(config, offline=True)


def test_labels_of_test_data_are_refused_with_a_dataset_that_has_none():
    config = DataConfig(test_data="t.txt", test_labels_file="l.txt")
    with pytest.raises(DataError, match=r"omit --test-data, --test-labels-file$"):
        load_dataset(config, offline=True)


def test_an_older_config_that_names_the_usual_columns_is_read_as_before():
    config = DataConfig(text_column="text", label_column="label")
    assert load_dataset(config).sha256 == load_dataset(DataConfig()).sha256
