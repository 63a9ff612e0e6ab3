# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many tokens a text has, where no model counts them."""

from __future__ import annotations

TYPICAL_BYTES = 4
"""Of a token of prose: for what is booked."""
CAREFUL_BYTES = 3
"""Where a text has to fit. English has about four, code three and a half, German and Chinese three: rather too many
tokens than too few."""


def booked_tokens(size: int) -> int:
    """About how many tokens `size` bytes are."""
    return -(-size // TYPICAL_BYTES)


def most_tokens(text: str) -> int:
    """As many as a text has, or a few more."""
    return len(text.encode()) // CAREFUL_BYTES + 1
