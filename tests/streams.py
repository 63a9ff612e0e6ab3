# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the events of a stream hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

_DATA = "data: "


def data_of(lines: Iterable[str]) -> Iterator[str]:
    """The data of each event, from the lines of a stream as they come; its end, `[DONE]`, is among them."""
    return (line.removeprefix(_DATA) for line in lines if line.startswith(_DATA))


def sent_in(text: str) -> list[str]:
    """The data of each event of a whole stream."""
    return list(data_of(text.split("\n")))


def events_in(text: str) -> list[Any]:
    """The JSON of each event of a whole stream that has no `[DONE]`."""
    return [json.loads(one) for one in sent_in(text)]
