"""Files that are sent: read as `predict --file` reads them, and answered in turn."""

from __future__ import annotations

import csv
import gzip
import io
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_helpers import Service, StubClassifier, head, post, serving, until

from gpt2_jax.data.reading import Reading
from gpt2_jax.errors import UserError
from gpt2_jax.inference.windows import windows
from gpt2_jax.serve.table import harmless

_BYTES = {"content-type": "application/octet-stream"}


def _post(url: str, content: bytes, **query: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/table", content=content, params=query, headers=_BYTES, timeout=30
    )


def _lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.split("\n") if line]


def _rows(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


@pytest.fixture(scope="module")
def stub():
    with serving(StubClassifier(lambda text: 0.9 if "prize" in text else 0.2)) as made:
        yield made


_FILES = {
    "a.csv": b'text,id\r\nfree prize,1\r\n"two\nlines",2\r\n',
    "UPPER.CSV": b"\xef\xbb\xbfid;Text\n1;lunch\n2;prize\n",
    "a.tsv": b'id\ttext\r1\tfree "prize"\r2\tb\r',
    "a.jsonl": b'{"text": "a"}\n\n{"text": 5, "id": [1]}\n"alone"\n',
    "a.ndjson": b'{"text": "a"}\n{"text": "b"}',
    "twice.jsonl": b'{"text": "a", "text": "b"}\n',
    "half.jsonl": b'{"text": "half \\ud83d"}\n',
    "a.json": b'[{"text": "a"}, {"text": "b"}]',
    "a.txt": b"one\n\ntwo\r\n three ",
    "none.csv": b"text\n",
    "empty.txt": b"",
    "ragged.csv": b"id,text\n1,a\n2,b,c\n",
    "open.csv": b'text\n"open',
    "no.csv": b"id,body\n1,a text of words\n",
    "latin.csv": "text\nna\u00efve\n".encode("latin-1"),
    "wide.csv": "text\na\n".encode("utf-16"),
    "nul.txt": b"a\0b\n",
    "a.csv.gz": gzip.compress(b"text\nfree prize\n"),
    "damaged.csv.gz": b"\x1f\x8b\x08\x00zzzz",
    "no.zip": b"PK no",
    "fast.txt": b"__label__spam free prize\n__label__ham lunch\n",
    "many.csv": b"text\n" + b"so many\n" * 300,
}


def _by_command(folder: Path, name: str, content: bytes) -> list[str] | None:
    """Return what `predict --file` reads; None: it refuses."""
    path = folder / name
    path.write_bytes(content)
    try:
        found = windows([], path, Reading(), io.BytesIO())
        return [row.text for window in found for row in window]
    except UserError:
        return None


def _by_service(service: Service, name: str, content: bytes) -> list[str] | None:
    response = _post(service.url, content, name=name)
    if response.status_code == 422:
        assert "\n" not in response.json()["error"]
        return None
    return [line["text"] for line in _lines(response)]


@pytest.mark.parametrize("name", _FILES)
def test_the_service_reads_a_file_as_predict_does(stub, name, tmp_path):
    expected = _by_command(tmp_path, name, _FILES[name])
    assert _by_service(stub, name, _FILES[name]) == expected


def test_some_of_those_files_are_read_and_some_are_refused(tmp_path):
    read = [n for n, c in _FILES.items() if _by_command(tmp_path, n, c) is not None]
    assert 8 < len(read) < len(_FILES) - 6


@settings(max_examples=40, deadline=None)
@given(
    st.text('text,id"\n\r\t;{}[]: aé\\', max_size=60),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".txt"]),
)
def test_any_file_is_read_as_predict_reads_it(stub, tmp_path_factory, text, suffix):
    content, name = text.encode(), f"any{suffix}"
    folder = tmp_path_factory.mktemp("any")
    assert _by_service(stub, name, content) == _by_command(folder, name, content)


def test_the_answers_are_those_of_classify(service, classifier):
    texts = [f"{'prize ' * (i % 40)}{i}" for i in range(200)]
    content = "\n".join(json.dumps({"text": text, "n": [1, None]}) for text in texts)
    lines = _lines(_post(service.url, content.encode(), name="a.jsonl"))
    for line, expected in zip(lines, classifier.classify(texts), strict=True):
        assert line["row"] == {"text": line["text"], "n": [1, None]}
        assert line["probs"] == pytest.approx(expected.probs, abs=1e-5)
        for field in ("label", "n_tokens", "truncated"):
            assert line[field] == getattr(expected, field)


def test_csv_keeps_every_column_and_puts_the_answer_beside_them(stub):
    content = b'label,text,note\r\nx,free prize,"a, b"\r\ny,,-\r\n'
    response = _post(stub.url, content, name="a.csv", format="csv", abstain_below=0.85)
    assert "attachment" in response.headers["content-disposition"]
    first, second = _rows(response)
    assert list(first) == [
        *("label", "text", "note", "predicted_label", "prob", "p_ham", "p_spam"),
        *("n_tokens", "truncated"),
    ]
    assert (first["label"], first["text"], first["note"]) == (
        *("x", "free prize", "a, b"),
    )
    assert (first["predicted_label"], first["p_spam"]) == ("spam", "0.900000")
    assert (second["predicted_label"], second["prob"]) == ("", "0.800000")
    assert second["n_tokens"] == "0"


def test_parquet_keeps_the_columns_that_are_not_asked_for(stub):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    table = {"text": ["free prize", "b"], "score": [float("nan"), 0.5], "more": [1, 2]}
    parquet.write_table(pyarrow.table(table), file)
    lines = _lines(_post(stub.url, file.getvalue(), name="a.parquet"))
    assert [float(line["row"]["more"]) for line in lines] == [1, 2]
    rows = _rows(_post(stub.url, file.getvalue(), name="a.parquet", format="csv"))
    assert [row["more"] for row in rows] == ["1", "2"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_compute_is_made_harmless(stub, sign):
    assert harmless(f"{sign}1+1") == f"'{sign}1+1" and harmless("1=1") == "1=1"
    file = io.StringIO()
    csv.writer(file).writerows([["text", f"{sign}h"], ["a", f"{sign}cmd|' /C'!A0"]])
    content = file.getvalue().encode()
    text = _post(stub.url, content, name="a.csv", format="csv").text
    for cells in csv.reader(io.StringIO(text, newline="")):
        assert not any(cell.startswith(sign) for cell in cells)
    assert f"'{sign}" in text


def test_columns_are_told_also_where_none_is_the_text(stub):
    def columns(content: bytes) -> Any:
        return _post(stub.url, content, name="a.csv", format="columns").json()

    both = columns(b"id,Text\n1,a\n")
    assert both == {"columns": ["id", "Text"], "text_columns": ["Text"]}
    none = columns(b"id,body\n1,a\n")
    assert none == {"columns": ["id", "body"], "text_columns": []}
    chosen = _post(stub.url, b"id,body\n1,a\n", name="a.csv", text_column="body")
    assert [line["text"] for line in _lines(chosen)] == ["a"]
    assert "no rows" in columns(b"text\n")["error"]


def test_a_file_over_its_limit_is_refused_however_it_is_packed():
    with serving(StubClassifier(), max_file=100_000) as service:
        assert _post(service.url, b"a\n" * 50_000).status_code == 200
        assert service.status(post(b"", "/v1/classify")) == 422
        large = _post(service.url, b"a\n" * 50_001)
        assert large.status_code == 413 and "100000" in large.json()["error"]
        packed = gzip.compress(b"a\n" * 10**6)
        refused = _post(service.url, packed, name="a.txt.gz")
        assert refused.status_code == 422 and "100000" in refused.json()["error"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"encoding": "utf-9"}, 422),
        ({"delimiter": "ab"}, 422),
        ({"colour": "red"}, 422),
        ({"abstain_below": "nan"}, 422),
        ({"encoding": "latin-1"}, 200),
    ],
)
def test_parameters_that_cannot_be_are_refused(stub, query, status):
    response = _post(stub.url, b"a\n", **query)
    assert response.status_code == status, response.text


def test_the_body_must_not_be_what_a_form_can_send(stub):
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        response = httpx.post(
            f"{stub.url}/v1/table", content=b"a", headers={"content-type": kind}
        )
        assert response.status_code == 415


class _Held:
    """A service whose device waits; `release` lets it go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.seen: list[str] = []

    def __call__(self, text: str) -> float:
        assert self.go.wait(30)
        self.seen.append(text)
        return 0.25


def _waiting(service: Service) -> Callable[[], float]:
    def count() -> float:
        text = httpx.get(f"{service.url}/metrics").text
        lines = [x for x in text.splitlines() if x.startswith("gpt2_jax_queue_texts ")]
        return float(lines[0].split()[1])

    return count


def _send_file(service: Service, content: bytes) -> socket.socket:
    connection = service.connect()
    request = head(
        "/v1/table", content_type=_BYTES["content-type"], content_length=len(content)
    )
    connection.sendall(request + content)
    return connection


def test_a_file_never_fills_the_queue_nor_goes_before_others():
    held = _Held()
    with serving(StubClassifier(held), max_queue=256) as service:
        count = _waiting(service)
        held.go.clear()
        with _send_file(service, b"row\n" * 5000):
            until(lambda: 64 <= count() <= 128)
            answers: list[int] = []
            request = post(b'{"texts": ["small"]}')
            asking = threading.Thread(
                target=lambda: answers.append(service.status(request))
            )
            before = count()
            asking.start()
            until(lambda: count() == before + 1)
            held.seen.clear()
            held.go.set()
            asking.join(30)
            assert answers == [200]
            assert held.seen.index("small") <= 16  # behind one batch at most


def test_a_file_whose_client_goes_away_is_dropped():
    held = _Held()
    with serving(StubClassifier(held)) as service:
        count = _waiting(service)
        for _ in range(6):  # more than may be at once
            held.go.clear()
            connection = _send_file(service, b"row\n" * 5000)
            until(lambda: count() >= 64)
            connection.close()
            until(lambda: count() == 0)
            held.go.set()
        assert _post(service.url, b"a\n").status_code == 200
