# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index as the reference keeps it, for tests and benchmarks: its tables, written from plain values."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import psycopg

from context_chat_backend.ports import Embedder

TABLES = """
CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar UNIQUE NOT NULL, cmetadata json);
CREATE TABLE langchain_pg_embedding (
    id varchar PRIMARY KEY, collection_id uuid REFERENCES langchain_pg_collection ON DELETE CASCADE,
    embedding vector, document varchar, cmetadata jsonb);
CREATE TABLE docs (source_id varchar PRIMARY KEY, provider varchar NOT NULL, modified timestamp, chunks uuid[]);
CREATE TABLE access_list ({id} uid varchar NOT NULL,
    source_id varchar NOT NULL REFERENCES docs ON DELETE CASCADE, UNIQUE (uid, source_id));
INSERT INTO langchain_pg_collection VALUES ('00000000-0000-0000-0000-000000000001', 'ccb_store', NULL);
"""
_COLLECTION = "00000000-0000-0000-0000-000000000001"


@dataclass
class Old:
    """One source of the reference."""

    ref: str
    texts: Sequence[str]
    readers: Sequence[str]
    title: str | None = None
    modified: datetime | None = field(default_factory=lambda: datetime(2025, 6, 1, 12, 0, 0))
    vectors: np.ndarray | None = None
    missing: int = 0
    """So many more chunks are named than there are."""


def write(url: str, sources: Iterable[Old], *, numbered: bool = True) -> None:
    """Make the tables where they are not there, and fill them; `numbered`: access_list has its column id."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('docs')").fetchone() == (None,):
            id_ = "id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY," if numbered else ""
            connection.execute(TABLES.format(id=id_))
        listed = list(sources)
        ids = [[str(uuid.uuid4()) for _ in range(len(one.texts) + one.missing)] for one in listed]
        with connection.cursor() as cursor:
            with cursor.copy("COPY langchain_pg_embedding FROM STDIN") as copy:
                for one, own in zip(listed, ids, strict=True):
                    for number, (id_, text) in enumerate(zip(own, one.texts, strict=False)):
                        metadata = {"source": one.ref, "start_index": 1800 * number}
                        if one.title is not None:
                            metadata |= {"title": one.title, "type": "text/markdown"}
                        vector = None if one.vectors is None else str([float(x) for x in one.vectors[number]])
                        copy.write_row((id_, _COLLECTION, vector, text, json.dumps(metadata)))
            with cursor.copy("COPY docs FROM STDIN") as copy:
                for one, own in zip(listed, ids, strict=True):
                    chunks = "{" + ",".join(own) + "}"
                    copy.write_row((one.ref, one.ref.partition(": ")[0], one.modified, chunks))
            with cursor.copy("COPY access_list (uid, source_id) FROM STDIN") as copy:
                for one in listed:
                    for name in one.readers:
                        copy.write_row((name, one.ref))


async def embedded(sources: Sequence[Old], embedder: Embedder) -> list[Old]:
    """The same sources with vectors as the reference made them: of the plain text, of any length."""
    for one in sources:
        one.vectors = 3.0 * await embedder.embed_passages(list(one.texts))
    return list(sources)


def at_random(count: int, users: int, seed: int = 1) -> list[Old]:
    """Sources with random readers, some with none, and random text; all hold the word 'harbour'."""
    chosen = random.Random(seed)
    names = [f"user{number}" for number in range(users)]
    words = ["winter", "report", "budget", "meeting", "garden", "bridge", "letter", "engine"]
    return [
        Old(
            f"{chosen.choice(['files__default', 'mail__mail', 'deck__deck'])}: {number}",
            [
                f"harbour {' '.join(chosen.choices(words, k=30))} number{number} part{part}"
                for part in range(chosen.randrange(1, 5))
            ],
            chosen.sample(names, chosen.randrange(0, users)),
            f"files/folder/{number}.md",
        )
        for number in range(count)
    ]
