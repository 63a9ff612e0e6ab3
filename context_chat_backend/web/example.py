# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an example of a route is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """A call that succeeds."""

    answer: Any
    request: Any = None
    """The body; None where there is none."""
    media_type: str = "application/json"
    """Of the body."""
    answered_as: str = "application/json"
    """The media type of the answer."""
