# SPDX-License-Identifier: AGPL-3.0-or-later
"""No re-ranker: the order of the search stays."""

from __future__ import annotations

from collections.abc import Sequence


class NoReranker:
    """Has no opinion."""

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:  # noqa: ARG002
        """All alike."""
        return [0.0] * len(texts)

    async def close(self) -> None:
        """Nothing is held."""
