import io

import ml_dtypes
import numpy as np
import pytest

from gpt2_jax.weights.arrays import read_into


class Slow(io.BytesIO):
    """A stream that gives three bytes at a time, as a stream may."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:3])


@pytest.mark.parametrize("stream", [io.BytesIO, Slow])
@pytest.mark.parametrize("dtype", [np.float32, np.bool_, ml_dtypes.bfloat16])
def test_an_array_is_filled_from_where_the_stream_stands(stream, dtype):
    expected = np.asarray([[1, 0, 1], [1, 1, 0]], dtype)
    source = stream(b"skip" + expected.tobytes() + b"rest")
    source.seek(4)
    value = np.empty((2, 3), dtype)
    read_into(source, value)
    np.testing.assert_array_equal(value, expected)


def test_a_stream_that_ends_early_is_an_error():
    with pytest.raises(ValueError, match="ends 5 bytes too early"):
        read_into(io.BytesIO(bytes(3)), np.empty(2, np.float32))
    read_into(io.BytesIO(), np.empty(0, np.float32))  # nothing to read
