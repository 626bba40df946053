"""Means over runs, and how sure they are.

Shapes: `R` runs of a setting, `S` seeds, `N` texts, `C` classes, `B` resamples.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 2000
FEW = 5  # runs; with fewer, an interval over them is rough
_RANDOM = 0  # the same intervals each time


@dataclasses.dataclass(frozen=True)
class Summary:
    """A number over runs."""

    mean: float
    sd: float | None  # None: of one run
    low: float | None  # of the 95% interval of the mean
    high: float | None
    values: tuple[float, ...]

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{spread}"

    @property
    def interval(self) -> str:
        """The 95% interval in words; of one run nothing, of few it says so."""
        if self.low is None or self.high is None:
            return ""
        few = f" (only {len(self.values)} runs)" * (len(self.values) < FEW)
        return f"{self.low:.2f} to {self.high:.2f}{few}"


def summarize(values: Sequence[float], *, percent: bool = False) -> Summary:
    """Return the mean of `values`, how they spread, and how sure the mean is.

    The interval is Student's t. That of a `percent` stays within 0 to 100: it is of the
    beta distribution of the same mean, whose standard error is widened as t's is.
    """
    from scipy import special

    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Summary(mean, None, None, None, tuple(values))
    sd = statistics.stdev(values)
    t = float(special.stdtrit(n - 1, 0.975))
    error = sd / math.sqrt(n)
    low, high = mean - t * error, mean + t * error
    if percent and error:
        wide = error * t / float(special.ndtri(0.975))
        low, high = _beta_interval(mean / 100, wide / 100)
    return Summary(mean, sd, low, high, tuple(values))


def _beta_interval(mean: float, error: float) -> tuple[float, float]:
    """Return the 95% interval in percent of a beta distribution of these moments."""
    from scipy import special

    size = mean * (1 - mean) / error**2 - 1  # a + b
    if size <= 0:  # wider than any beta distribution: nothing is known
        return 0.0, 100.0
    ends = special.betaincinv(mean * size, (1 - mean) * size, (0.025, 0.975))
    return 100 * float(ends[0]), 100 * float(ends[1])


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a run answered to labelled texts."""

    labels: np.ndarray  # int [N]
    probabilities: np.ndarray  # [N, C]

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, bool [N]."""
        return self.probabilities.argmax(-1) == self.labels


@dataclasses.dataclass(frozen=True)
class Difference:
    """By how much one setting is better than another, in points."""

    mean: float
    low: float  # of the 95% interval, over seeds and texts
    high: float
    ahead: float  # share of resamples in which it is


def resampled(
    runs: Sequence[Sequence[Answers]], metric: str = "accuracy"
) -> np.ndarray:
    """Return the mean score [B, K] of each of K settings over their runs.

    Each of B resamples draws runs and texts with replacement, the same for all
    settings: run i of each has the same seed, and all answered the same texts. More is
    better; accuracy and F1 are in percent, a loss has its sign turned.

    Source: the bootstrap of two crossed factors, Owen 2007, "The pigeonhole bootstrap".

    Args:
        runs: K settings of S runs each.
        metric: "accuracy", "f1" (macro) or "loss".
    """
    random = np.random.default_rng(_RANDOM)
    num_runs, num_texts = len(runs[0]), len(runs[0][0].labels)
    of_runs = _draws(random, num_runs)
    of_texts = _draws(random, num_texts)
    return np.stack(
        [
            sum(
                of_runs[:, place] * _SCORES[metric](answers, of_texts)
                for place, answers in enumerate(setting)
            )
            for setting in runs
        ],
        axis=-1,
    )


def _draws(random: np.random.Generator, size: int) -> np.ndarray:
    """Return what each of `size` things weighs in each resample, [B, size]."""
    return random.multinomial(size, [1 / size] * size, RESAMPLES) / size


def _accuracies(answers: Answers, weights: np.ndarray) -> np.ndarray:
    return 100 * (weights @ answers.right)


def _losses(answers: Answers, weights: np.ndarray) -> np.ndarray:
    rows = np.arange(len(answers.labels))
    likelihood = answers.probabilities[rows, answers.labels]
    return weights @ np.log(np.maximum(likelihood, 1e-7))


def _macro_f1(answers: Answers, weights: np.ndarray) -> np.ndarray:
    classes = np.eye(answers.probabilities.shape[-1])
    true, answered = classes[answers.labels], classes[answers.probabilities.argmax(-1)]
    hits, there = weights @ (true * answered), weights @ (true + answered)  # [B, C]
    f1 = np.divide(2 * hits, there, out=np.zeros_like(hits), where=there > 0)
    return 100 * f1.sum(-1) / (there > 0).sum(-1)


_SCORES = {"accuracy": _accuracies, "loss": _losses, "f1": _macro_f1}


def mean_score(runs: Sequence[Answers], metric: str) -> float:
    """Return the mean score of the runs of a setting; see `resampled`."""
    whole = [np.full((1, len(run.labels)), 1 / len(run.labels)) for run in runs]
    pairs = zip(runs, whole, strict=True)
    return statistics.fmean(float(_SCORES[metric](r, w)[0]) for r, w in pairs)


def difference(better: np.ndarray, other: np.ndarray, mean: float) -> Difference:
    """Return how far resampled scores [B] are above others, and how sure that is."""
    apart = better - other
    low, high = np.quantile(apart, (0.025, 0.975))
    ahead = float((apart > 0).mean() + (apart == 0).mean() / 2)
    return Difference(mean, float(low), float(high), ahead)


def shares_of_best(scores: np.ndarray) -> np.ndarray:
    """Return in which share of resamples each of K settings is the best, [K].

    Those that are equal share it. Args: scores [B, K].
    """
    best = scores == scores.max(-1, keepdims=True)
    return (best / best.sum(-1, keepdims=True)).mean(0)


def mcnemar(one: np.ndarray, other: np.ndarray) -> Mapping[str, float]:
    """Return McNemar's exact test of two sets of answers to the same texts.

    `p` is how likely so uneven a count is, were both as often right: only texts count
    on which one alone is right. Source: McNemar 1947; exact by the binomial test.

    Args:
        one, other: whether each answer is right, bool [N].
    """
    from scipy import special

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    fewer, apart = min(only_one, only_other), only_one + only_other
    p = min(2 * float(special.bdtr(fewer, apart, 0.5)), 1.0)  # two-sided
    return {"only_first": only_one, "only_second": only_other, "p": p}
