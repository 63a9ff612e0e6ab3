# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds the program from one configuration: the only place that constructs adapters; closes them in reverse order."""

from context_chat_backend.wiring.backend import Backend
from context_chat_backend.wiring.models import HOW_TO_FETCH

__all__ = ["HOW_TO_FETCH", "Backend"]
