# SPDX-License-Identifier: AGPL-3.0-or-later
"""Percentiles of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` (1 to 99) of the values lie, between two of them where none is there.

    Infinite where there are no values: nothing was answered.
    """
    if len(values) < 2:
        return values[0] if values else float("inf")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
