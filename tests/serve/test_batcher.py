"""The batcher: who is put together with whom, and what becomes of the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from serve_helpers import until

from gpt2_jax.config import ServeConfig
from gpt2_jax.engine.widths import next_width, widths_up_to
from gpt2_jax.serve.batcher import Batcher, QueueFullError
from gpt2_jax.serve.sizes import SIZES, sizes

MAX_LENGTH = 200
WIDTHS = widths_up_to(MAX_LENGTH)


class Device:
    """Answers each text with its number of words, and can be held up."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(list(texts))
        self.threads.add(threading.get_ident())
        assert self.free.wait(10)
        if self.error is not None:
            raise self.error
        return np.asarray([[_length(text), 1.0] for text in texts])


def _length(text: str) -> int:
    return len(text.split())


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def max_wait() -> float:
    return 0.002


@pytest.fixture
def batcher(device, max_wait) -> Iterator[Batcher]:
    made = Batcher(
        device.predict_proba,
        num_classes=2,
        max_length=MAX_LENGTH,
        config=ServeConfig(max_queue=256, max_wait=max_wait),
    )
    made.start()
    assert made.ready.wait(10)
    until(lambda: made.cold == 0)
    device.calls.clear()
    device.threads.clear()
    yield made
    device.free.set()
    made.close()


def _submit(batcher: Batcher, texts: Sequence[str], **options):
    return batcher.submit(texts, [_length(text) for text in texts], **options)


def _hold(batcher: Batcher, device: Device) -> None:
    """Let the device begin a batch that does not end before `device.free` is set."""
    device.free.clear()
    _submit(batcher, ["held"])
    until(lambda: device.calls == [["held"]])


def _texts(count: int, seed: int = 0) -> list[str]:
    lengths = np.random.default_rng(seed).integers(1, MAX_LENGTH, count)
    return [" ".join(["a"] * int(length)) for length in lengths]


def test_every_row_comes_back_in_its_place(batcher):
    requests = [_texts(7, seed) for seed in range(20)]
    futures = [_submit(batcher, texts) for texts in requests]
    for texts, future in zip(requests, futures, strict=True):
        assert [int(row[0]) for row in future.result(10)] == list(map(_length, texts))


def test_only_one_thread_touches_the_device(batcher, device):
    def client(seed: int) -> None:
        _submit(batcher, _texts(5, seed)).result(10)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert len(device.threads) == 1
    assert device.threads.isdisjoint(
        {threading.get_ident(), *(c.ident for c in clients)}
    )


def test_texts_share_a_batch_only_with_texts_of_like_length(batcher, device):
    _hold(batcher, device)
    future = _submit(batcher, ["a", " ".join("a" * 150), "a a", " ".join("a" * 140)])
    device.free.set()
    future.result(10)
    for call in device.calls:
        assert len({next_width(_length(text), WIDTHS) for text in call}) == 1


def test_texts_that_wait_are_put_together(batcher, device):
    _hold(batcher, device)
    futures = [_submit(batcher, ["a"]) for _ in range(16)]
    device.free.set()
    for future in futures:
        future.result(10)
    assert device.calls[1:] == [["a"] * 16]


@pytest.mark.parametrize("max_wait", [1.0])
def test_a_text_waits_for_others_only_where_there_were_others(batcher, device):
    start = time.monotonic()
    for _ in range(3):
        _submit(batcher, ["alone"]).result(10)
    assert time.monotonic() - start < 0.9
    _submit(batcher, ["a", "a"]).result(10)
    first = _submit(batcher, ["first"])
    time.sleep(0.1)
    second = _submit(batcher, ["second"])
    first.result(10)
    second.result(10)
    assert device.calls[-1] == ["first", "second"]


def test_no_batch_has_a_shape_that_was_not_warmed_up(batcher, device):
    tokens = ServeConfig().batch_tokens
    warm = {(size, width) for width in WIDTHS for size in sizes(width, tokens)}
    for count in (1, 2, 3, 5, 9, 17, 40):
        _submit(batcher, _texts(count, count)).result(10)
        _submit(batcher, ["a"] * count).result(10)
    seen = {(len(call), next_width(_length(call[0]), WIDTHS)) for call in device.calls}
    assert seen <= warm
    assert {size for size, _ in seen} == set(SIZES)


class ColdDevice(Device):
    """Compiles what `go` lets it, by (texts, tokens); keeps the order."""

    def __init__(self) -> None:
        super().__init__()
        self.go = {(n, w): threading.Event() for w in WIDTHS for n in SIZES}
        self.compiled: list[tuple[int, int]] = []
        self.broken: set[int] = set()  # widths

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        shape = len(texts), next_width(_length(texts[0]), WIDTHS)
        if threading.current_thread().name != "device":
            self.compiled.append(shape)
            assert self.go[shape].wait(10)
        if shape[1] in self.broken:
            raise RuntimeError("too wide")
        return super().predict_proba(texts)

    def let(self, *sizes: int, widths: Sequence[int] = WIDTHS) -> None:
        for width in widths:
            for size in sizes:
                self.go[size, width].set()


@pytest.fixture
def cold() -> ColdDevice:
    return ColdDevice()


@pytest.fixture
def cold_batcher(cold) -> Iterator[Batcher]:
    made = Batcher(
        cold.predict_proba, num_classes=2, max_length=MAX_LENGTH, config=ServeConfig()
    )
    made.start()
    yield made
    cold.let(*SIZES)
    made.close()


def test_it_is_ready_once_the_longest_text_is_compiled(cold_batcher, cold):
    until(lambda: len(cold.compiled) == 1)
    assert cold.compiled == [(1, MAX_LENGTH)]
    assert not cold_batcher.ready.is_set()
    cold.let(1, widths=[MAX_LENGTH])
    assert cold_batcher.ready.wait(10)
    assert cold_batcher.cold > len(WIDTHS)
    _submit(cold_batcher, ["a " * MAX_LENGTH]).result(10)


def test_a_text_waits_for_its_width_which_is_next_and_holds_nobody_up(
    cold_batcher, cold
):
    cold.let(1, widths=[MAX_LENGTH])
    assert cold_batcher.ready.wait(10)
    until(lambda: len(cold.compiled) == 3)  # on two threads, the shortest first
    assert set(cold.compiled[1:]) == {(1, WIDTHS[0]), (1, WIDTHS[1])}
    waits = _submit(cold_batcher, ["a " * 100])
    _submit(cold_batcher, ["a " * MAX_LENGTH]).result(10)
    assert not waits.done()
    cold.let(1, widths=WIDTHS[:1])
    until(lambda: len(cold.compiled) == 4)
    width = next_width(100, WIDTHS)
    assert cold.compiled[3] == (1, width)
    cold.let(1, widths=[width])
    assert waits.result(10)[0, 0] == 100
    assert cold.calls[-1] == ["a " * 100]  # on the one thread of the device


def test_single_texts_are_answered_while_larger_batches_compile(cold_batcher, cold):
    cold.let(1)
    assert cold_batcher.ready.wait(10)
    until(lambda: (2, WIDTHS[0]) in cold.compiled)
    cold.calls.clear()
    _submit(cold_batcher, ["a"] * 5).result(10)
    assert cold.calls == [["a"]] * 5
    cold.let(*SIZES)
    until(lambda: cold_batcher.cold == 0)
    cold.calls.clear()
    _submit(cold_batcher, ["a"] * 16).result(10)
    assert cold.calls == [["a"] * 16]


def test_a_width_that_cannot_be_compiled_is_told_to_those_who_ask(cold_batcher, cold):
    cold.broken = {WIDTHS[0]}
    cold.let(*SIZES)
    assert cold_batcher.ready.wait(10)
    with pytest.raises(RuntimeError, match="too wide"):
        _submit(cold_batcher, ["a"]).result(10)
    assert _submit(cold_batcher, ["a " * 20]).result(10)[0, 0] == 20


def test_closing_answers_what_waits_for_its_width(cold_batcher, cold):
    cold.let(1, widths=[MAX_LENGTH])
    assert cold_batcher.ready.wait(10)
    waits = _submit(cold_batcher, ["a " * 100] * 3)
    closing = threading.Thread(target=cold_batcher.close)
    closing.start()
    assert waits.result(10)[2, 0] == 100
    cold.let(*SIZES)
    closing.join(10)


def test_what_does_not_fit_the_queue_is_refused_whole(batcher, device):
    _hold(batcher, device)
    kept = _submit(batcher, ["a"] * 250)
    with pytest.raises(QueueFullError):
        _submit(batcher, ["a"] * 7)
    assert batcher.waiting == 250
    device.free.set()
    assert len(kept.result(10)) == 250


def test_background_texts_come_last_and_fill_half_of_the_queue(batcher, device):
    _hold(batcher, device)
    last = _submit(batcher, ["last"], background=True)
    with pytest.raises(QueueFullError):
        _submit(batcher, ["a"] * 128, background=True)
    first = _submit(batcher, ["first"])
    device.free.set()
    first.result(10)
    last.result(10)
    assert device.calls == [["held"], ["first"], ["last"]]


def test_what_nobody_waits_for_any_more_is_not_computed(batcher, device):
    _hold(batcher, device)
    left = _submit(batcher, ["left"])
    kept = _submit(batcher, ["kept"])
    assert left.cancel()
    device.free.set()
    kept.result(10)
    assert ["left"] not in device.calls and ["kept"] in device.calls


def test_a_small_request_waits_for_a_batch_of_a_large_one_and_not_for_all(
    batcher, device
):
    _hold(batcher, device)
    large = _submit(batcher, ["large"] * 120)
    small = _submit(batcher, ["small"])
    device.free.set()
    small.result(10)
    large.result(10)
    order = [text for call in device.calls for text in call]
    assert order.index("small") <= 2 + 16


def test_a_large_request_is_not_put_off_for_ever_by_small_ones(batcher, device):
    _hold(batcher, device)
    large = _submit(batcher, ["large"] * 60)
    asked = []

    def keep_asking(texts: Sequence[str]) -> np.ndarray:
        if not large.done() and len(device.calls) < 100:
            asked.extend(_submit(batcher, ["small"]) for _ in range(16))
        return answer(texts)

    answer, batcher._predict_proba = device.predict_proba, keep_asking
    device.free.set()
    large.result(10)
    for future in asked:
        future.result(10)
    last = max(i for i, call in enumerate(device.calls) if "large" in call)
    assert last < 20


def test_a_request_that_is_cancelled_leaves_the_queue(batcher, device):
    _hold(batcher, device)
    left = _submit(batcher, ["left " * (1 + i % 50) for i in range(200)])
    kept = _submit(batcher, ["kept"] * 5)
    assert left.cancel()
    assert batcher.waiting == 5
    device.free.set()
    kept.result(10)
    assert not any("left" in text for call in device.calls for text in call)


def test_a_failed_batch_is_told_to_those_who_asked_and_the_thread_lives(
    batcher, device
):
    device.error = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        _submit(batcher, ["a"] * 3).result(10)
    device.error = None
    assert _submit(batcher, ["a a"]).result(10)[0, 0] == 2


def test_closing_answers_what_waits(device):
    batcher = Batcher(
        device.predict_proba, num_classes=2, max_length=16, config=ServeConfig()
    )
    batcher.start()
    until(lambda: batcher.cold == 0)
    device.calls.clear()
    _hold(batcher, device)
    futures = [_submit(batcher, ["a"]) for _ in range(40)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert not any(future.done() for future in futures)
    device.free.set()
    closing.join(10)
    assert all(future.done() for future in futures)
