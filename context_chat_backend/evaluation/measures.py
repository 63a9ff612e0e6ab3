# SPDX-License-Identifier: AGPL-3.0-or-later
"""How good a ranking is, and how sure that is: nDCG, recall, reciprocal rank, bootstrap intervals.

Definitions are those of trec_eval, which BEIR uses: the gain of a document is its relevance, as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEPTH = 20
"""So many documents of a ranking are looked at."""
NAMES = ("ndcg@10", "recall@5", "recall@20", "mrr")
_RESAMPLES = 2000
_SEED = 20_240_042
_BLOCK = 100
"""Resamples drawn at once, so that memory stays small whatever the number of questions."""


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], depth: int = 10) -> float:
    """Discounted cumulative gain of the first `depth` documents, as a share of the best there could be, 0 to 1.

    `relevant` gives documents their relevance, of which at least one is above 0.
    """
    gains = [relevant.get(key, 0) for key in ranking[:depth]]
    best = sorted(relevant.values(), reverse=True)[:depth]
    return _discounted(gains) / _discounted(best)


def recall(ranking: Sequence[str], relevant: Mapping[str, int], depth: int) -> float:
    """The share of the relevant documents that is among the first `depth`, 0 to 1."""
    wanted = {key for key, gain in relevant.items() if gain > 0}
    return len(wanted.intersection(ranking[:depth])) / len(wanted)


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, int]) -> float:
    """1 divided by the rank of the first relevant document; 0 when none is among the first DEPTH."""
    for rank, key in enumerate(ranking[:DEPTH], start=1):
        if relevant.get(key, 0) > 0:
            return 1 / rank
    return 0.0


def measure(ranking: Sequence[str], relevant: Mapping[str, int]) -> tuple[float, ...]:
    """All measures of one ranking, in the order of NAMES."""
    return (
        ndcg(ranking, relevant),
        recall(ranking, relevant, 5),
        recall(ranking, relevant, 20),
        reciprocal_rank(ranking, relevant),
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over questions with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The mean of `values`, one per question, and the percentile interval of resampled questions (Efron 1979).

    Of the differences between two configurations, question by question, it is the paired interval. Equal input gives
    equal output.
    """
    sample = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(_SEED)
    means: list[NDArray[np.float64]] = []
    for _ in range(_RESAMPLES // _BLOCK):
        chosen = random.integers(0, len(sample), size=(_BLOCK, len(sample)))
        means.append(sample[chosen].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
