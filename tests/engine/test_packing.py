import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.engine.packing import CLASSES, call_tokens, pack

_LENGTHS = st.lists(st.integers(1, 1024), min_size=1, max_size=60)


@given(_LENGTHS)
def test_every_text_lies_whole_in_one_row(lengths):
    lengths = np.asarray(lengths, np.int32)
    seen = []
    for packed in pack(lengths, 1024, 2048):
        texts = iter(packed.texts)
        for segments, positions in zip(packed.segments, packed.positions, strict=True):
            for number in range(1, segments.max() + 1):
                text = next(texts)
                place = np.flatnonzero(segments == number)
                assert len(place) == lengths[text]
                assert (np.diff(place) == 1).all()
                np.testing.assert_array_equal(positions[place], np.arange(len(place)))
                seen.append(text)
        assert next(texts, None) is None
    assert sorted(seen) == list(range(len(lengths)))


@given(_LENGTHS, st.sampled_from([16, 2048, 16384]))
def test_calls_have_few_shapes_of_a_bounded_size(lengths, tokens):
    shapes = [p.segments.shape for p in pack(np.asarray(lengths), 1024, tokens)]
    assert len(set(shapes)) <= len(CLASSES) + 1
    assert all(rows * width <= max(tokens, width) for rows, width in shapes)


def test_a_device_that_the_host_feeds_takes_more_at_once_than_a_cpu():
    assert call_tokens("gpu") == call_tokens("tpu") > call_tokens("cpu")


def test_short_texts_leave_little_unused():
    lengths = np.random.default_rng(0).integers(3, 60, 2000)
    used = sum(p.segments.size for p in pack(lengths, 132, 2048))
    assert used < 1.05 * lengths.sum() + 2048
