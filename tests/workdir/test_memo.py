"""What runs of one process have in common is made once, and the newest is kept."""

from __future__ import annotations

from gpt2_jax.workdir.memo import Memo


def test_a_thing_is_made_once_for_each_key_and_the_newest_is_kept():
    memo, made = Memo(), []

    def get(kind: str, key: str) -> str:
        return memo.get(kind, key, lambda: made.append((kind, key)) or f"{kind} {key}")

    assert [get("trunk", "a"), get("trunk", "a")] == ["trunk a"] * 2
    assert get("texts", "a") == "texts a"  # a kind of its own
    assert get("trunk", "b") == "trunk b"
    assert get("trunk", "a") == "trunk a"  # b took its place
    assert made == [("trunk", "a"), ("texts", "a"), ("trunk", "b"), ("trunk", "a")]
    assert memo.made == {"trunk": 3, "texts": 1}


def test_nothing_is_a_thing_too():
    memo, made = Memo(), []
    for _ in range(2):
        assert memo.get("trunk", 1, lambda: made.append(1)) is None
    assert made == [1]
