"""Texts of many requests -> batches on the one thread that answers them."""

from __future__ import annotations

import heapq
import logging
import string
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from gpt2_jax.config import ServeConfig
from gpt2_jax.engine.widths import next_width, widths_up_to
from gpt2_jax.errors import PREDICT_MEMORY_ADVICE, UserError, explain_out_of_memory
from gpt2_jax.serve.jobs import Job, Text
from gpt2_jax.serve.sizes import filled, size_for, sizes

_COMPILERS = 2  # threads: XLA needs a core or two for each

logger = logging.getLogger(__name__)

Predict = Callable[[Sequence[str]], np.ndarray]


class QueueFullError(Exception):
    """More texts wait than may."""


class Batcher:
    """Answers texts in batches of like length; requests take turns.

    What one request has beyond a full batch waits for its next turn, so that a large
    one delays a small one by a batch and not by all of its texts. Texts of `background`
    jobs wait until no other text does, and may fill half of the queue. A future that is
    cancelled takes its texts out of the queue. A text whose width is not compiled yet
    has it compiled next.
    """

    def __init__(
        self,
        predict_proba: Predict,
        *,
        num_classes: int,
        max_length: int,
        config: ServeConfig,
        on_batch: Callable[[list[float]], None] = lambda waits: None,
    ) -> None:
        self._predict_proba = predict_proba
        self._num_classes = num_classes
        self._widths = widths_up_to(max_length)
        self._config = config
        self._on_batch = on_batch
        self._queues: dict[tuple[bool, int], list[Text]] = {}  # heaps
        self._turn = self._number = 0  # of batches, of texts
        self._changed = threading.Condition()
        self._closing = False
        self._company = False  # whether the last batch held several texts
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._warming = threading.Thread(
            target=self._warm_up, name="warm-up", daemon=True
        )
        # Texts of a full batch; 0: this width is still to be compiled.
        self._largest = {width: 0 for width in self._widths}
        self.cold = sum(
            len(sizes(w, config.batch_tokens)) for w in self._widths
        )  # shapes that are still to be compiled
        self.ready = threading.Event()  # the model runs, and answers
        self.failed = False  # and never will be

    def start(self) -> None:
        self._warming.start()

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._warming.join()
        if self.ready.is_set():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        with self._changed:
            return self._waiting()

    def _waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def submit(
        self, texts: Sequence[str], lengths: Sequence[int], *, background: bool = False
    ) -> Future[np.ndarray]:
        """Queue `texts` of `lengths` tokens; the result is probabilities [N, C].

        Raises:
            QueueFullError: they do not fit the queue.
        """
        limit = self._config.max_queue // (2 if background else 1)
        rows = np.zeros((len(texts), self._num_classes))
        job = Job(rows, len(texts), Future())
        with self._changed:
            if self._waiting() + len(texts) > limit:
                raise QueueFullError
            now, tokens = time.monotonic(), 0
            for i, (text, length) in enumerate(zip(texts, lengths, strict=True)):
                width = next_width(min(length, self._widths[-1]), self._widths)
                turn = self._turn + tokens // self._config.batch_tokens
                queue = self._queues.setdefault((background, width), [])
                heapq.heappush(queue, Text(turn, self._number, text, job, i, now))
                self._number += 1
                tokens += width
            self._changed.notify()
        job.future.add_done_callback(self._forget)
        return job.future

    def _forget(self, future: Future[np.ndarray]) -> None:
        """Take the texts of a request that nobody waits for out of the queue."""
        if not future.cancelled():
            return
        with self._changed:
            for key, queue in list(self._queues.items()):
                self._queues[key] = [t for t in queue if t.job.future is not future]
                heapq.heapify(self._queues[key])
                if not self._queues[key]:
                    del self._queues[key]
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _warm_up(self) -> None:
        """Compile the longest text, then answer; the other shapes follow meanwhile.

        The longest first, since it needs most memory: what cannot run is never ready.
        """
        start, (*others, longest) = time.monotonic(), self._widths
        try:
            with explain_out_of_memory(PREDICT_MEMORY_ADVICE):
                self._warm(longest, 1)
        except Exception as error:
            self.failed = True
            unknown = not isinstance(error, UserError)
            logger.error("the model cannot be run: %s", error, exc_info=unknown)
            return
        if self._closing:
            return
        seconds = time.monotonic() - start
        logger.info("ready: after %.0f s; other lengths follow", seconds)
        self._thread.start()
        self.ready.set()
        with ThreadPoolExecutor(_COMPILERS) as pool:
            list(pool.map(self._warm_singles, [others] * _COMPILERS))
            list(pool.map(self._warm_larger, self._widths))
        if not self.cold:
            seconds = time.monotonic() - start
            logger.info("all batch shapes compiled in %.0f s", seconds)

    def _warm_singles(self, widths: list[int]) -> None:
        """Compile single texts of `widths`, which other threads take from too.

        Those that texts wait for come first.
        """
        while True:
            with self._changed:
                if not widths:
                    return
                waited = {width for _, width in self._queues}
                width = min(widths, key=lambda w: (w not in waited, w))
                widths.remove(width)
            try:
                self._warm(width, 1)
            except Exception:  # the next text of this width has it too, and is told
                self._have(width, 1)

    def _warm_larger(self, width: int) -> None:
        try:
            for size in sizes(width, self._config.batch_tokens)[1:]:
                self._warm(width, size)
        except Exception as error:
            what = f"no larger batches of {width} tokens"
            logger.warning("warning: %s: %s", what, error)

    def _warm(self, width: int, size: int) -> None:
        """Compile a shape, and let batches have it."""
        if self._closing:
            return
        # Different texts, since equal ones are run once; " a" is one token.
        letters = string.ascii_lowercase[:size]
        self._predict_proba([f" {letter}" * width for letter in letters])
        self._have(width, size)
        with self._changed:
            self.cold -= 1

    def _have(self, width: int, size: int) -> None:
        with self._changed:
            self._largest[width] = size
            self._changed.notify()

    def _next_batch(self) -> list[Text]:
        """Wait for texts and take those of one batch; none mean the end."""
        with self._changed:
            while True:
                # What is not compiled yet waits for it, and holds nobody up.
                keys = [k for k in self._queues if self._largest[k[1]] or self._closing]
                if not keys:
                    if self._closing:
                        return []
                    self._changed.wait()
                    continue
                key = min(keys, key=lambda k: (k[0], self._queues[k][0]))
                queue, largest = self._queues[key], self._largest[key[1]] or 1
                wait = queue[0].since + self._config.max_wait - time.monotonic()
                alone = not self._company and len(queue) == 1
                if wait <= 0 or alone or len(queue) >= largest or self._closing:
                    return self._take(key, size_for(len(queue), largest))
                self._changed.wait(wait)

    def _take(self, key: tuple[bool, int], size: int) -> list[Text]:
        queue = self._queues[key]
        taken = [heapq.heappop(queue) for _ in range(min(size, len(queue)))]
        if not queue:
            del self._queues[key]
        self._turn += 1
        self._company = len(taken) > 1
        return taken

    def _answer(self, batch: list[Text]) -> None:
        batch = [item for item in batch if not item.job.future.done()]
        if not batch:
            return
        texts = [item.text for item in batch]
        texts += texts[-1:] * (filled(len(texts)) - len(texts))
        start = time.monotonic()
        try:
            rows = self._predict_proba(texts)
        except Exception as error:  # told to those who asked; the thread lives on
            for item in batch:
                item.job.fail(error)
            return
        self._on_batch([start - item.since for item in batch])
        for item, row in zip(batch, rows[: len(batch)], strict=True):
            item.job.answer(item.index, row)
