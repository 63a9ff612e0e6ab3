# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of the program as frozen values, with the rules that hold for them alone.

Words are those of docs/ARCHITECTURE.md. Nothing here knows HTTP, SQL or a vendor; standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

MAX_TITLE_CHARACTERS = 4096
"""Longer titles are cut: a path in Nextcloud has at most 4000 characters."""

FILES = "files__default"
"""The provider of files; those of all other providers are content of apps."""

_PROVIDER = re.compile(r"[A-Za-z0-9_-]+__[A-Za-z0-9_-]+")
_ITEM = re.compile(r"[A-Za-z0-9:-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Realm(StrEnum):
    """Where a name of a user or a source is valid. A door acts in its own realm only."""

    NEXTCLOUD = "nextcloud"
    LOCAL = "local"
    """Users and sources without Nextcloud."""
    COLLECTION = "collection"
    """Collections of such sources, as readers of what lies in them: a key of a collection asks in its name."""


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """Somebody who may read: a user of one realm."""

    realm: str
    name: str

    def __post_init__(self) -> None:
        if not self.name or "\x00" in self.name:
            raise ValueError("a user id is neither empty nor holds a NUL character")

    @property
    def sources_realm(self) -> str:
        """The realm of the sources it may read."""
        return Realm.LOCAL if self.realm == Realm.COLLECTION else self.realm


def is_provider_key(text: str) -> bool:
    """Whether `text` is a provider key, `<app>__<provider>` (contract push-4x 1.3)."""
    return len(text) <= 512 and _PROVIDER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class SourceRef:
    """The name of a source: `<app>__<provider>: <item>` (contract push-4x 1.3, the wider form)."""

    provider: str
    item: str

    def __str__(self) -> str:
        return f"{self.provider}: {self.item}"

    @classmethod
    def parse(cls, text: str) -> SourceRef:
        """Read a source id as it stands on the wire.

        Raises ValueError, with a sentence that may be shown, when the shape is wrong.
        """
        provider, separator, item = text.partition(": ")
        if not separator or not is_provider_key(provider) or len(item) > 512 or not _ITEM.fullmatch(item):
            raise ValueError("a source id has the form 'app__provider: item', for example 'files__default: 42'")
        return cls(provider, item)


_COLLECTION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, order=True)
class Collection:
    """Sources without Nextcloud that have their readers in common."""

    name: str

    def __post_init__(self) -> None:
        if not _COLLECTION.fullmatch(self.name):
            raise ValueError("the name of a collection has 1 to 64 letters, digits, hyphens and underscores")

    @property
    def provider(self) -> str:
        """The provider of its sources."""
        return f"collection__{self.name}"

    @property
    def itself(self) -> Principal:
        """The collection as a reader of what lies in it."""
        return Principal(Realm.COLLECTION, self.name)


class KeyScope(StrEnum):
    """What a key may be used for."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a program, without the key itself."""

    id: str
    display: str
    """How it begins, for people."""
    client: str
    """Whose it is, in the words of who made it."""
    user: Principal | None
    """For whom it speaks; None: for its one collection."""
    collections: tuple[Collection, ...]
    """What it is kept to; none: all its user may read."""
    scopes: frozenset[KeyScope]
    created_at: datetime
    active: bool = True
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    requests_per_minute: int | None = None

    @property
    def asker(self) -> Principal:
        """In whose name it asks."""
        return self.user if self.user is not None else self.collections[0].itself


def clean_title(text: str) -> str:
    """One line without control characters, at most MAX_TITLE_CHARACTERS long."""
    return _CONTROL.sub(" ", text).strip()[:MAX_TITLE_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One source as it arrives: everything about it but its bytes."""

    realm: str
    ref: SourceRef
    title: str
    media_type: str
    modified_at: datetime
    """Aware; a delivery that is newer than what is stored is indexed anew."""
    readers: frozenset[Principal]
    adds_readers: bool = False
    """Whether readers of an unchanged source are added rather than replaced (ruling 5: content items, beta4)."""
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it arrived: a deletion that came before does not concern it."""
    readers_since: datetime | None = None
    """Where it is known: when its readers were read at the earliest. Actions that came before are in them already,
    and actions that came later are applied to it, also when its source is known."""
    remote: bool = False
    """Whether its bytes are fetched from Nextcloud when it is indexed; else they come with it."""


class Admission(StrEnum):
    """What became of a delivery at the door."""

    ADMITTED = "admitted"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    """The same version is already waiting to be indexed."""


class State(StrEnum):
    """Where a source stands."""

    WAITING = "waiting"
    """Admitted; its bytes lie in the spool; also while leased by a worker."""
    INDEXED = "indexed"
    REJECTED = "rejected"
    """Final for this version; `reason` says why. An older indexed version, if any, is gone."""
    QUARANTINED = "quarantined"
    """As rejected, because it killed its parser twice; not tried when the same version is delivered again."""


class Reason(StrEnum):
    """Why a source was rejected or is retried: a closed list, so that it may be counted and shown."""

    EMPTY = "empty"
    TOO_LARGE = "too large"
    UNSUPPORTED = "unsupported format"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged or not of the declared format"
    NO_RECOGNITION = "a picture, and text recognition is not installed: install tesseract with its languages"
    PARSER_DIED = "its parser crashed"
    PARSER_TIMEOUT = "its parser took too long"
    PARSER_MEMORY = "its parser needed too much memory"
    TOO_MUCH_TEXT = "too much text"
    TOO_MANY_PARTS = "too many pages, entries or attachments"
    TOO_DEEP = "nested too deeply"
    EXPANDS = "expands to far more than its size"
    ENTITIES = "declares entities that name files or each other"
    EXCLUDED = "excluded"
    NOT_FOUND = "not found in Nextcloud"
    UNREADABLE = "cannot be opened in Nextcloud"
    DISK_FULL = "no room on the disk"
    NEXTCLOUD_DOWN = "Nextcloud not available"
    EMBEDDING_DOWN = "embedding not available"
    EMBEDDING_REFUSED = "refused by the embedding model"
    INTERNAL = "internal error"


@dataclass(frozen=True, slots=True)
class ClaimedSource:
    """A waiting source that a worker has leased."""

    id: int
    realm: str
    ref: SourceRef
    version: int
    title: str
    media_type: str
    modified_at: datetime
    attempts: int
    """Including this one."""
    remote: bool = False
    """Whether its bytes are to be fetched from Nextcloud."""
    size: int = 0
    """In bytes, as it was delivered; 0 where that was not known."""
    body: bytes | None = field(default=None, compare=False, repr=False)
    """The bytes of a small one that was pushed."""


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


AS_CONFIGURED = Sampling()


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
    sampling: Sampling = AS_CONFIGURED
    model: str = ""
    """The language model that is asked first, by its name; empty: the first that is configured."""


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


class Finish(StrEnum):
    """Why a model stopped writing."""

    STOP = "stop"
    """It had said all."""
    LENGTH = "length"
    """It ran out of room: the answer is cut off."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one generation, as the model counts them."""

    prompt_tokens: int
    answer_tokens: int
    estimated: bool = False
    """The model did not say; it is our own count."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of what a language model writes."""

    finish: Finish
    usage: Usage | None = None
    """None: the model does not say."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker in the text of an answer that points to one passage."""

    start: int
    """Offset of the marker's first character in the answer's text."""
    end: int
    passage: Passage


@dataclass(frozen=True, slots=True)
class Answer:
    """Text whose claims carry citations."""

    text: str
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    """All that the model was given, best first."""
    model: str = ""
    """Who wrote it; empty when nothing was found, so that nobody was asked."""
    unavailable: tuple[str, ...] = ()
    """Models that were asked before it and did not answer, in the order of the configuration."""
    finish: Finish = Finish.STOP
    usage: Usage | None = None

    @property
    def sources(self) -> tuple[SourceRef, ...]:
        """The cited sources, each once, in the order of their first citation."""
        return tuple(dict.fromkeys(citation.passage.source for citation in self.citations))


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The first event of an answer: what it will be written from, best first.

    It comes again, and replaces what it said, when another model takes over before the text begins and reads more or
    fewer of the passages.
    """

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """What follows in the text of an answer; never taken back."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation that the last piece of text completed; its offsets are those in the whole text."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: the whole answer, whose text is that of all pieces."""

    answer: Answer


AnswerEvent = Retrieved | Delta | Cited | Done


@dataclass(frozen=True, slots=True)
class SourceLabel:
    """How a source is shown to a user."""

    label: str
    icon: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class FoundSource:
    """One source of a search result."""

    ref: SourceRef
    title: str
    similarity: float
