# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts by which models fill in the middle of a text: those of fim_templates.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_PACKAGE = "context_chat_backend.completing"


@dataclass(frozen=True, slots=True)
class Template:
    """How models of one family are asked."""

    family: str
    order: str
    """'PSM', 'SPM', or 'chat' for models that are asked in words."""
    prefix: str = ""
    suffix: str = ""
    middle: str = ""
    end: str = ""
    stops: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    file: str = ""
    """What stands before the name of another file; empty: the model reads one file."""

    @property
    def fills(self) -> bool:
        """Whether there is a prompt for it, rather than a chat."""
        return self.order != "chat"

    @property
    def scratchpad(self) -> str:
        """What Refact's clients call it."""
        return f"FIM-{self.order}" if self.fills else "REPLACE"

    @property
    def ends(self) -> tuple[str, ...]:
        """Where an answer ends."""
        return tuple(mark for mark in (self.end, *self.stops) if mark)

    def without_marks(self, text: str) -> str:
        """`text` without the model's own tokens, also such that appear when others are taken out.

        One pass: what is kept so far holds no mark, so that taking one from its end leaves none.
        """
        marks = {mark for mark in (self.prefix, self.suffix, self.middle, *self.ends, *self.special, self.file) if mark}
        if not marks:
            return text
        longest_first = sorted(marks, key=len, reverse=True)
        kept: list[str] = []
        for piece in re.split("(?<=[" + re.escape("".join({mark[-1] for mark in marks})) + "])", text):
            kept.extend(piece)
            tail = "".join(kept[-len(longest_first[0]) :])
            if found := next((mark for mark in longest_first if tail.endswith(mark)), ""):
                del kept[-len(found) :]
        return "".join(kept)

    def prompt(self, before: str, after: str) -> str:
        """The prompt for what belongs between the two texts, which hold no marks."""
        if self.order == "SPM":
            return f"{self.suffix}{after}{self.prefix}{before}{self.middle}"
        return f"{self.prefix}{before}{self.suffix}{after}{self.middle}"


@cache
def templates() -> Mapping[str, tuple[re.Pattern[str], Template]]:
    """All families with the pattern of their names, in the order of the file."""
    told: dict[str, dict[str, Any]] = yaml.safe_load((files(_PACKAGE) / "fim_templates.yaml").read_text("utf-8"))
    return {family: (re.compile(one.pop("pattern")), _template(family, one)) for family, one in told.items()}


def template_of(model: str, family: str = "") -> Template:
    """That of `family`, else of the model's name. Raises KeyError for a family that is not known."""
    if family:
        return templates()[family][1]
    return next(template for pattern, template in templates().values() if pattern.search(model.lower()))


@cache
def aliases() -> Mapping[str, str]:
    """Names that mean the default model of a role."""
    told: dict[str, str] = yaml.safe_load((files(_PACKAGE) / "model_aliases.yaml").read_text("utf-8"))
    return told


def _template(family: str, told: Mapping[str, Any]) -> Template:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Template(family, **fields)
