import pytest

from gpt2_jax.errors import WeightsError
from gpt2_jax.storage import sealed


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff", "not readable as JSON"),
        (b"[]", "expected a JSON object"),
        (b'"a"', "expected a JSON object"),
        (b'{"a": 1, "b": 2, "a": 1}', "has twice: a"),
        (b'{"b": {"a": 1, "c": 1, "c": 1, "a": 1}}', "has twice: a, c"),
        (b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", "nested too deeply"),
        (b" " * (sealed.MAX_BYTES + 1), "more than 10,485,760 bytes"),
    ],
)
def test_what_is_no_plain_object_is_refused_by_path(tmp_path, content, match):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=match) as caught:
        sealed.read_json(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json: no such file"):
        sealed.read_json(tmp_path / "config.json")


def test_an_object_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": {"b": [1, 2.5, null, "é"]}}', "utf-8")
    assert sealed.read_json(path) == {"a": {"b": [1, 2.5, None, "é"]}}
