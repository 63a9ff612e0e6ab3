# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows as text: each says what its values are, so that a row alone can answer a question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The names of the first row that is not blank, then one line `name: value; …` for each row below it."""
    filled = (row for row in rows if any(cell.strip() for cell in row))
    header = [name.strip() for name in next(filled, [])]
    yield ", ".join(name for name in header if name)
    for row in filled:
        named = zip(header + [""] * (len(row) - len(header)), (cell.strip() for cell in row), strict=False)
        yield "; ".join(f"{name}: {value}" if name else value for name, value in named if value)
