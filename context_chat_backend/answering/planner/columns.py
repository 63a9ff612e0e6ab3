# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands in each column of a catalogue's file, and what is wrong with a value that cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from context_chat_backend.domain.catalogues import Catalogue

_MOST = 10**12
_LONGEST = 2_000
_LONGEST_CARD = 200_000
_MISSING: Any = object()


class Fault(Exception):
    """What is wrong with one value, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file."""

    read: Callable[[Any], Any]
    """Gives the value. Raises Fault."""
    default: Any = _MISSING
    """What stands for an empty or missing one; without it there has to be one."""

    @property
    def is_needed(self) -> bool:
        """Whether each row has to have it."""
        return self.default is _MISSING


def _text(value: Any, *, longest: int = _LONGEST) -> str:
    if not isinstance(value, str):
        raise Fault("expected a text")
    if "\x00" in value:
        raise Fault("it holds a NUL character")
    if len(value) > longest:
        raise Fault(f"expected at most {longest} characters, found {len(value)}")
    return value.strip()


def _name(value: Any) -> str:
    text = _text(value, longest=200)
    if not text or any(not character.isprintable() for character in text):
        raise Fault("expected a name in one line")
    return text


def _card(value: Any) -> str:
    return _text(value, longest=_LONGEST_CARD)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Fault("expected a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise Fault(f"expected a number, found {str(value)[:40]!r}") from None
    if not number.is_finite() or not 0 <= number < _MOST:
        raise Fault(f"expected a number from 0 on, found {str(value)[:40]!r}")
    return number


def _price(value: Any) -> Decimal:
    number = _number(value)
    if number == 0:
        raise Fault("a price is above 0; leave it empty where it is not known")
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if number != number.to_integral_value() or number >= 2**31:
        raise Fault(f"expected a whole number, found {str(value)[:40]!r}")
    return int(number)


def _large_count(value: Any) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise Fault(f"expected a whole number, found {str(value)[:40]!r}")
    return int(number)


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise Fault("expected true or false")


def _date(value: Any) -> date:
    try:
        return date.fromisoformat(_text(value))
    except ValueError:
        raise Fault("expected a date like 2025-11-01") from None


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        raise Fault("expected a time like 2025-11-01T12:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _texts(value: Any) -> tuple[str, ...]:
    listed: Sequence[Any] = re.split(r"[;,]", value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise Fault("expected a list of texts, or texts with commas or semicolons between them")
    return tuple(text for one in listed if (text := _text(one)))


def _currency(value: Any) -> str:
    text = _text(value).upper()
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise Fault("expected a currency like USD")
    return text


_NAME, _TEXT, _COUNT = Column(_name), Column(_text, ""), Column(_count, 0)

COLUMNS: Mapping[Catalogue, Mapping[str, Column]] = {
    Catalogue.COMPUTE: {
        "id": _NAME,
        "provider": _NAME,
        "name": _NAME,
        "region": _NAME,
        "gpu_model": Column(_name, None),
        "gpu_count": _COUNT,
        "vram_per_gpu_gb": Column(_number, None),
        "vram_gb": Column(_number, None),
        "vcpu": Column(_count),
        "ram_gb": Column(_number),
        "price_hourly": Column(_price, None),
        "price_monthly": Column(_price, None),
        "currency": Column(_currency, "USD"),
        "price_as_of": Column(_date, None),
        "price_source": _NAME,
    },
    Catalogue.PACKAGES: {
        "id": _NAME,
        "name": _NAME,
        "version": _NAME,
        "app_version": _TEXT,
        "description": _TEXT,
        "repository": _TEXT,
        "keywords": Column(_texts, ()),
        "stars": _COUNT,
        "official": Column(_switch, False),
    },
    Catalogue.MODELS: {
        "model_id": _NAME,
        "pipeline_tag": _NAME,
        "license": _NAME,
        "downloads": Column(_large_count, 0),
        "likes": Column(_large_count, 0),
        "parameters_b": Column(_number, None),
        "tags": Column(_texts, ()),
        "updated_at": Column(_moment, datetime(1970, 1, 1, tzinfo=UTC)),
        "card": Column(_card, ""),
    },
}
"""The columns of each catalogue, in their order."""
