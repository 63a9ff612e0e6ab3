# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many tokens a text has, where no model counts them."""

from __future__ import annotations

_TYPICAL_BYTES = 4
"""Of a token of prose: for what is booked."""
CAREFUL_BYTES = 3
"""Where a text has to fit. English has about four, code three and a half, German and Chinese three."""


def booked_tokens(size: int) -> int:
    """About how many tokens `size` bytes are."""
    return -(-size // _TYPICAL_BYTES)


def careful_tokens(text: str) -> int:
    """About how many tokens a text has: rather too many than too few."""
    return -(-len(text.encode(errors="replace")) // CAREFUL_BYTES)
