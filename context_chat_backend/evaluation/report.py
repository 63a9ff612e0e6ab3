# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run found, as rows: every measure with its interval, and the paired difference to the first configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from context_chat_backend.evaluation.datasets import DataSet
from context_chat_backend.evaluation.measures import NAMES, Interval, interval, measure
from context_chat_backend.evaluation.run import Measured


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration over one group of questions."""

    group: str
    questions: int
    configuration: str
    measures: dict[str, Interval]
    """By the names in measures.NAMES."""
    differences: dict[str, Interval]
    """To the first configuration, question by question; empty for the first."""


def rows(data: DataSet, measured: Sequence[Measured]) -> list[Row]:
    """For each group of questions a row for each configuration, in their order."""
    found: list[Row] = []
    for group in dict.fromkeys(asked.group for asked in data.questions):
        places = [place for place, asked in enumerate(data.questions) if asked.group == group]
        first: list[tuple[float, ...]] | None = None
        for each in measured:
            values = [measure(each.rankings[place].keys, data.questions[place].relevant) for place in places]
            differences = {}
            if first is None:
                first = values
            else:
                differences = {
                    name: interval([value[n] - base[n] for value, base in zip(values, first, strict=True)])
                    for n, name in enumerate(NAMES)
                }
            means = {name: interval([value[n] for value in values]) for n, name in enumerate(NAMES)}
            found.append(Row(group, len(places), each.configuration.name, means, differences))
    return found


def as_json(data: DataSet, measured: Sequence[Measured], found: Sequence[Row]) -> dict[str, Any]:
    """The run for scripts; values are shares from 0 to 1."""
    return {
        "data_set": data.name,
        "documents": len(data.documents),
        "rejected": {each.configuration.name: each.rejected for each in measured},
        "rows": [
            {
                "questions_of": row.group,
                "questions": row.questions,
                "configuration": row.configuration,
                **{name: _values(measure) for name, measure in row.measures.items()},
                "difference": {name: _values(measure) for name, measure in row.differences.items()},
            }
            for row in found
        ],
    }


def _values(of: Interval) -> dict[str, float]:
    return {"mean": round(of.mean, 4), "low": round(of.low, 4), "high": round(of.high, 4)}
