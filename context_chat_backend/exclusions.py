# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators want left out of the index: rules on path, media type, provider, size and age.

A path with a segment `.noindex` or `.nomedia` is always left out: that is how people mark folders.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from context_chat_backend.errors import ConfigurationError

MARKS = frozenset({".noindex", ".nomedia"})

_LISTS = ("paths", "media_types", "providers")
_NUMBERS = ("larger_than", "older_than_days")
KEYS = (*_LISTS, *_NUMBERS)
"""The keys below `exclude` in the configuration."""


@dataclass(frozen=True)
class Exclusions:
    """Rules; any of them leaves a source out."""

    paths: tuple[str, ...] = ()
    """Globs: `*` and `?` stay within a segment, `**` does not; one without `/` is compared with each segment."""
    media_types: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    larger_than: int | None = None
    """Bytes."""
    older_than: timedelta | None = None

    def __post_init__(self) -> None:
        globs = {name: _any_of(getattr(self, name)) for name in _LISTS}
        object.__setattr__(self, "_globs", globs)

    @property
    def digest(self) -> str:
        """Another one when the rules are others."""
        age = None if self.older_than is None else self.older_than.total_seconds()
        rules = [self.paths, self.media_types, self.providers, self.larger_than, age]
        return hashlib.sha256(json.dumps(rules).encode()).hexdigest()

    def leave_out(
        self, *, path: str, media_type: str, provider: str, size: int, modified_at: datetime, now: datetime
    ) -> bool:
        """Whether a source like this is not to be indexed. Both times are aware."""
        if not MARKS.isdisjoint(path.split("/")):
            return True
        globs: Mapping[str, re.Pattern[str] | None] = self._globs  # type: ignore[attr-defined]
        told = {
            "paths": "/" + path.strip("/"),
            "media_types": "/" + media_type.partition(";")[0].strip().lower(),
            "providers": "/" + provider,
        }
        if any(glob is not None and glob.fullmatch(told[name]) for name, glob in globs.items()):
            return True
        if self.larger_than is not None and size > self.larger_than:
            return True
        return self.older_than is not None and now - modified_at > self.older_than


def read_exclusions(section: Any) -> Exclusions:
    """The rules below `exclude` in the configuration. Raises ConfigurationError with the key and the cure."""
    if section is None:
        return Exclusions()
    if not isinstance(section, dict):
        raise ConfigurationError(f"exclude: expected rules below it: {', '.join(KEYS)}")
    if unknown := [key for key in section if key not in KEYS]:
        raise ConfigurationError(f"exclude.{unknown[0]}: there is no such rule; there are: {', '.join(KEYS)}")
    lists = {name: _texts(name, section.get(name)) for name in _LISTS}
    lists["media_types"] = tuple(text.lower() for text in lists["media_types"])
    days = _number("older_than_days", section.get("older_than_days"))
    return Exclusions(
        **lists,
        larger_than=_number("larger_than", section.get("larger_than")),
        older_than=None if days is None else timedelta(days=days),
    )


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise ConfigurationError(f"exclude.{name}: expected a list of texts, in quotes where they begin with '*'")
    return tuple(texts)


def _number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**12:
        raise ConfigurationError(f"exclude.{name}: expected a whole number of at least 1")
    if name == "older_than_days" and value > 100_000:
        raise ConfigurationError(f"exclude.{name}: expected at most 100000 days")
    return value


def _any_of(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    """What matches a path that begins with `/` when one of the globs does."""
    return re.compile("|".join(_expression(glob) for glob in globs), re.DOTALL) if globs else None


def _expression(glob: str) -> str:
    """A folder that is named leaves out what is below it; without a `/` a name may stand anywhere."""
    bare = glob.strip("/")
    beginning = "/" if "/" in bare or glob.startswith("/") else "(?:/.*)?/"
    return f"{beginning}{_translate(bare)}(?:/.*)?"


def _translate(glob: str) -> str:
    """A glob as a regular expression."""
    parts = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|/\*\*|\*\*|\*|\?|[^*?/]+|/", glob)
    return "".join(parts.get(token, re.escape(token)) for token in tokens)
