# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each term of a chunk adds to a score, before its rarity: BM25 (Robertson, Zaragoza 2009), k1 = 1.2, b = 0.75.

The mean length is a constant, 80 different terms: chunks are made of one size, and a mean that moves would make every
stored number wrong. A question's terms weighted by their rarity, times this, is the score.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIMENSIONS = 1_000_000_000
_MAX_TERMS = 16_000
"""Of a sparsevec."""
_HEAD = struct.Struct(">iii")


def impacts(terms: NDArray[np.int64], chunks: NDArray[np.int64], count: int) -> Sequence[bytes]:
    """Of `count` chunks, the impacts of their terms, as PostgreSQL reads a sparsevec.

    `terms` are those of all chunks, as often as they occur, and `chunks` the number of the chunk of each.
    """
    found, frequency = np.unique(chunks << 32 | terms, return_counts=True)
    borders = np.searchsorted(found, np.arange(count + 1) << 32)
    lengths = np.diff(borders)
    numbers = np.rint(2200 * frequency / (frequency + 0.3 + 0.9 * np.repeat(lengths, lengths) / 80)) / 1000
    places = ((found & 0xFFFFFFFF) - 1).astype(">i4")
    values = numbers.astype(">f4")
    return [
        _HEAD.pack(_DIMENSIONS, end - start, 0) + places[start:end].tobytes() + values[start:end].tobytes()
        for start, end in zip(borders[:-1], np.minimum(borders[1:], borders[:-1] + _MAX_TERMS), strict=True)
    ]
