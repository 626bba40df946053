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


@pytest.mark.parametrize("seal", [sealed.SEAL, "sha256"])
def test_a_sealed_object_tells_every_change(seal):
    values = {"a": 1, "b": {"c": None}}
    written = sealed.sealed(values, seal)
    assert sealed.unsealed(written, seal) == values
    for changed in ({**written, "a": 2}, {**written, "d": 1}, {**written, seal: "0"}):
        with pytest.raises(ValueError, match=f"its {seal} is of other values"):
            sealed.unsealed(changed, seal)
    with pytest.raises(KeyError):
        sealed.unsealed(values, seal)


@pytest.mark.parametrize("alone", [False, True])
def test_files_are_those_that_were_hashed(tmp_path, alone):
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b"):
        (tmp_path / name).write_text(name)
    hashes = sealed.hash_files(tmp_path)
    assert set(hashes) == {"a", "in/b"}
    told = tmp_path.parent / "told.json"

    def check(hashes):
        sealed.check_files(tmp_path, told, hashes, "get it again", alone=alone)

    (tmp_path / ".c.gpt2-jax-0").mkdir()
    (tmp_path / ".c.gpt2-jax-0" / "c").write_text("half")  # a killed process left it
    check(hashes)
    (tmp_path / "more").write_text("x")
    if alone:
        with pytest.raises(WeightsError, match=r"more: damaged.*told\.json"):
            check(hashes)
    else:
        check(hashes)
    (tmp_path / "more").unlink()
    (tmp_path / "in" / "b").write_text("c")
    with pytest.raises(WeightsError, match=r"in/b: damaged.*get it again"):
        check(hashes)
    (tmp_path / "in" / "b").unlink()
    with pytest.raises(WeightsError, match="in/b: damaged"):
        check(hashes)
    (tmp_path.parent / "outside").write_text("x")
    for wrong in ({"a": None}, {"../outside": "0"}, {"none": None}):
        with pytest.raises(WeightsError, match="damaged"):
            check(wrong)
    with pytest.raises(WeightsError, match="no sha256"):
        check(3)
