# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions, within which scope they are asked, and what is found for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from context_chat_backend.domain.documents import Location
from context_chat_backend.domain.people import Principal
from context_chat_backend.domain.sources import SourceRef


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question may be answered from, beside the asker's rights. All None: everything."""

    providers: tuple[str, ...] | None = None
    sources: tuple[SourceRef, ...] | None = None
    media_types: tuple[str, ...] | None = None
    path: str | None = None
    """What titles begin with: 'files/Projects/' is a folder and all below it."""
    since: datetime | None = None
    """Aware; sources modified then or later."""
    until: datetime | None = None
    """Aware; sources modified before."""


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation as a language model reads it."""

    role: str
    """'system', 'user' or 'assistant'."""
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to write this answer; what is None is as it is configured. A model may not know all of it."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    """At most as many as are configured."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Where one of these would begin, the answer ends."""
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None


AS_CONFIGURED = Sampling()


class SearchType(StrEnum):
    """How passages are chosen among those that are found, by the names LangChain has for it."""

    SIMILARITY = "similarity"
    SIMILARITY_DISTANCE_THRESHOLD = "similarity_distance_threshold"
    SIMILARITY_SCORE_THRESHOLD = "similarity_score_threshold"
    MMR = "mmr"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the passages that are found are used."""

    kind: SearchType = SearchType.SIMILARITY
    count: int = 4
    """At most so many are looked at more closely."""
    looked_at: int = 20
    """Out of so many that are found."""
    least_similarity: float | None = None
    """Cosine, -1 to 1; None: what counts as found everywhere."""
    most_distance: float | None = None
    """One minus the cosine; for SIMILARITY_DISTANCE_THRESHOLD."""
    nearest_first: bool = False
    """Whether nearness in meaning alone decides the order; words then only help to be looked at."""
    relevance_share: float = 0.5
    """For MMR: 1 looks at relevance alone, 0 at what is said for the first time."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, by whom, within which scope."""

    text: str
    asker: Principal
    scope: Scope = EVERYTHING
    limit: int = 20
    """How many passages (or sources, in a search) are wanted at most."""
    instructions: str = ""
    """What the asker wants the model to keep to, beside our own instructions."""
    turns: tuple[Message, ...] = ()
    """What was said before, oldest first."""
    turns_are_kept: bool = False
    """Whether these are of a conversation that is kept here; else whoever asks has sent them."""
    alone: str = ""
    """The same question as it would be asked without the turns; empty: as it is."""
    sampling: Sampling = AS_CONFIGURED
    model: str = ""
    """The language model that is asked first, by its name; empty: the first that is configured."""
    searches: bool = True
    """Whether what the asker may read is searched; else it is answered from `given` alone."""
    choice: Choice | None = None
    """Which passages are used; None: the best `limit`."""
    given: tuple[Passage, ...] = ()
    """Passages the asker brings, best first; they stand before those that are found."""
    template: str = ""
    """The asker's words around `{context}` and `{question}`, in the place of ours."""
    nothing: str = ""
    """What is said where there is no passage; empty: our sentence, in the language of the question."""
    direct_from: float | None = None
    """From this similarity on the best passage is the answer where it is one of a pair; None: a model writes."""
    answers_alone: bool = False
    """Whether the model answers from what it knows where there is no passage; else that is said."""

    @property
    def meant(self) -> str:
        """What is searched for."""
        return self.alone or self.text


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found for a question; exists only after the access check."""

    source: SourceRef
    title: str
    text: str
    location: Location
    language: str
    similarity: float
    """Cosine similarity to the question, -1 to 1: the only score that may be shown (ruling 8)."""
    chunk_id: int
    modified_at: datetime
    duplicates: tuple[Passage, ...] = ()
    """Passages of which this one says all, in the order they were found: one of them takes its place when its source
    turns out to be no longer readable."""
    judged: float | None = None
    """What a re-ranker says of it, on the scale of that model; None where none has an opinion, not a number
    where it could not be asked."""
    ordinal: int | None = None
    """Its place among the chunks of its source, where that is known."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A chunk that was found, or stands beside one that was; exists only after the access check."""

    source: SourceRef
    chunk_id: int
    ordinal: int
    location: Location
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a language model is asked: the rendered messages, and the parts they were rendered from.

    Generating models read `messages`; the extractive one reads `question` and `passages`.
    Passage number n of a citation marker `[n]` is `passages[n - 1]`.
    """

    messages: tuple[Message, ...]
    question: str
    passages: tuple[Passage, ...]
    asker: Principal | None = None
    """In whose name it is asked, for models that have users of their own."""
    filled: bool = False
    """Whether the one message is a template of the administrator, filled in: a model that runs here reads it as it
    stands, with the marks of speakers it holds, rather than as a turn of a conversation."""
    stop: tuple[str, ...] = ()
    """Where one of these would begin, the answer ends; they are not part of it."""
    sampling: Sampling = AS_CONFIGURED
