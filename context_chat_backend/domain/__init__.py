# SPDX-License-Identifier: AGPL-3.0-or-later
"""The nouns of the program as frozen values, with the rules that hold for them alone.

Words are those of docs/ARCHITECTURE.md. Nothing here knows HTTP, SQL or a vendor; standard library only.
"""

from context_chat_backend.domain.answers import (
    Answer,
    AnswerEvent,
    Citation,
    Cited,
    Delta,
    Done,
    Ended,
    Finish,
    Retrieved,
    Usage,
)
from context_chat_backend.domain.documents import Chunk, Document, EmbeddingSpace, Location, Part
from context_chat_backend.domain.people import ApiKey, Collection, KeyScope, Principal, Realm
from context_chat_backend.domain.questions import (
    AS_CONFIGURED,
    EVERYTHING,
    Message,
    Neighbour,
    Passage,
    Prompt,
    Question,
    Sampling,
    Scope,
)
from context_chat_backend.domain.sources import (
    FILES,
    MAX_TITLE_CHARACTERS,
    Admission,
    ClaimedSource,
    Delivery,
    FoundSource,
    Reason,
    SourceLabel,
    SourceRef,
    State,
    clean_title,
    is_provider_key,
)

__all__ = [
    "AS_CONFIGURED",
    "EVERYTHING",
    "FILES",
    "MAX_TITLE_CHARACTERS",
    "Admission",
    "Answer",
    "AnswerEvent",
    "ApiKey",
    "Chunk",
    "Citation",
    "Cited",
    "ClaimedSource",
    "Collection",
    "Delivery",
    "Delta",
    "Document",
    "Done",
    "EmbeddingSpace",
    "Ended",
    "Finish",
    "FoundSource",
    "KeyScope",
    "Location",
    "Message",
    "Neighbour",
    "Part",
    "Passage",
    "Principal",
    "Prompt",
    "Question",
    "Realm",
    "Reason",
    "Retrieved",
    "Sampling",
    "Scope",
    "SourceLabel",
    "SourceRef",
    "State",
    "Usage",
    "clean_title",
    "is_provider_key",
]
