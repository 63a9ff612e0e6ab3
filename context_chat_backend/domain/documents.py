# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is read out of a source: parts with their places, chunks, and the conditions of their vectors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """Where in its document a piece of text stands; every member may be unknown."""

    page: int | None = None
    sheet: str | None = None
    slide: int | None = None
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of text with one location."""

    text: str
    location: Location = Location()
    rows: bool = False
    """Whether it is a table: each line is a row, which stays whole."""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one version of one source as parsed, in reading order."""

    parts: tuple[Part, ...]
    title: str | None = None
    """The title the document gives itself, where it does."""
    parser: str | None = None
    """What read it, by the name of the format."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A continuous piece of a document: what is embedded, searched and cited."""

    ordinal: int
    text: str
    location: Location = Location()
    language: str = "simple"
    """Name of the PostgreSQL text search configuration that stems its words, for example 'german'."""


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """The conditions under which vectors may be compared."""

    model: str
    dimension: int
    question_prefix: str = ""
    passage_prefix: str = ""
    languages: tuple[str, ...] = ()
    """Text search configurations the model was trained for; empty when it is multilingual."""
