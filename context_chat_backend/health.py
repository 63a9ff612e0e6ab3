# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the program can do its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Health:
    """What the surfaces look at before they pass a request on."""

    ready: bool = False
    """False while starting and stopping: everything but the heartbeat answers 503."""
