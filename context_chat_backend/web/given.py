# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passages that come with a question."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from context_chat_backend.domain import Location, Passage, SourceRef
from context_chat_backend.web.chat_wire import Text

MAX_PASSAGES = 50
MAX_PASSAGE_CHARACTERS = 4000
CUT = " […]"
"""What follows a passage that was cut."""
PROVIDER = "request__context"
"""The provider of passages that came with the question."""


class GivenPassage(BaseModel):
    """A passage that comes with the question."""

    text: Text
    title: Text = ""
    source: Text = ""


class Bringing(BaseModel):
    """A body with passages of the caller's own."""

    context: Annotated[list[Text | GivenPassage], Field(max_length=MAX_PASSAGES)] = Field(default_factory=list)

    @property
    def given(self) -> tuple[Passage, ...]:
        """The passages that came with the question, in their order."""
        return tuple(_passage(number, given) for number, given in enumerate(self.context, start=1))

    @property
    def names(self) -> Mapping[SourceRef, str]:
        """What the caller calls those passages; their number where he does not."""
        named = [one.source if isinstance(one, GivenPassage) else "" for one in self.context]
        return {_ref(number): name or str(number) for number, name in enumerate(named, start=1)}


def _ref(number: int) -> SourceRef:
    return SourceRef(PROVIDER, str(number))


def _passage(number: int, given: str | GivenPassage) -> Passage:
    passage = GivenPassage(text=given) if isinstance(given, str) else given
    text = passage.text
    if len(text) > MAX_PASSAGE_CHARACTERS:
        text = text[:MAX_PASSAGE_CHARACTERS] + CUT
    return Passage(
        source=_ref(number),
        title=passage.title or passage.source or f"context {number}",
        text=text,
        location=Location(),
        language="simple",
        similarity=1.0,
        chunk_id=-number,
        modified_at=datetime.now(UTC),
    )
