# SPDX-License-Identifier: AGPL-3.0-or-later
"""What must not be in the database when all is quiet, looked up past every wall."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from tests.town import Oracle

_ORPHANS = {
    "chunks without a source that has them": """
        SELECT count(*) FROM chunk LEFT JOIN source ON source.id = source_id
        WHERE source.id IS NULL OR source.state = 'gone'""",
    "sources with another number of chunks than they say": """
        SELECT count(*) FROM source
        WHERE chunk_count <> (SELECT count(*) FROM chunk WHERE source_id = source.id)""",
    "chunks without their one text": """
        SELECT count(*) FROM chunk FULL JOIN chunk_text ON chunk.id = chunk_id
        WHERE chunk.id IS NULL OR chunk_id IS NULL""",
    "chunks without their words": """
        SELECT count(*) FROM chunk FULL JOIN words ON chunk.id = chunk_id WHERE chunk.id IS NULL OR chunk_id IS NULL""",
    "sets of readers that nothing points to": """
        SELECT count(*) FROM access_set WHERE NOT EXISTS (SELECT FROM source WHERE access_set_id = access_set.id)""",
    "sets whose digest is not that of their members": """
        SELECT count(*) FROM access_set WHERE digest IS DISTINCT FROM (
            SELECT sum(hash) FROM access_member JOIN principal ON principal.id = principal_id
            WHERE access_set_id = access_set.id)""",
    "names that are in no set": """
        SELECT count(*) FROM principal WHERE NOT EXISTS (SELECT FROM access_member WHERE principal_id = principal.id)
        """,
    "spooled bytes that nobody waits for": """
        SELECT count(*) FROM spool JOIN source ON source.id = source_id
        WHERE state IN ('indexed', 'gone') OR source.version <> spool.version""",
    "deleted sources that were not swept": "SELECT count(*) FROM source WHERE state = 'gone'",
    "rows of Nextcloud's queues that were not settled": "SELECT count(*) FROM leased_row",
    "acknowledgements that were not sent": "SELECT count(*) FROM acknowledgement",
}
_REMEMBER_DELETIONS = ("action_log", "applied_action", "listed_after")
"""They name the deleted for three days at most, so that late rows bring back neither (docs/privacy.md)."""


def orphans(url: str) -> list[str]:
    """What is in the database and belongs to nothing."""
    with psycopg.connect(url) as connection:
        found = []
        for what, query in _ORPHANS.items():
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            if row[0]:
                found.append(f"{row[0]} {what}")
        for (space,) in connection.execute("SELECT id FROM embedding_space WHERE state = 'answering'").fetchall():
            of_space = sql.SQL(
                "SELECT count(*) FROM chunk FULL JOIN (SELECT chunk_id FROM {} UNION ALL SELECT chunk_id FROM {}) AS v "
                "ON chunk.id = chunk_id WHERE chunk.id IS NULL OR chunk_id IS NULL"
            ).format(sql.Identifier(f"embedding_{space}"), sql.Identifier(f"embedding_{space}_tail"))
            row = connection.execute(of_space).fetchone()
            if row is None or row[0]:
                found.append(f"chunks without a vector, or vectors without a chunk, in space {space}: {row}")
    return found


def files_left(storage: Path) -> list[str]:
    """Users' bytes on the disk that nobody works on."""
    folder = storage / "tmp"
    found = [f"{path.name} is left in tmp/" for name in ("part-*", "parse-*") for path in folder.rglob(name)]
    processes = [path.name for path in folder.glob("process-*")]
    return found + ([f"folders of processes that ended: {processes}"] if len(processes) > 1 else [])


def verdicts_missing(url: str, oracle: Oracle) -> list[str]:
    """Sources that were acknowledged and have neither text nor verdict, or not the newest text."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT ref, state::text, (SELECT string_agg(text, ' ') FROM chunk JOIN chunk_text ON chunk_id = chunk.id "
            "WHERE source_id = source.id) FROM source WHERE state <> 'gone'"
        ).fetchall()
    known = {ref: (state, text or "") for ref, state, text in rows}
    with oracle.lock:
        wanted = {ref: text for ref, text in oracle.texts.items() if oracle.readers[ref]}
    wrong = []
    for ref, text in wanted.items():
        state, stored = known.get(ref, ("missing", ""))
        if state != "indexed":
            wrong.append(f"{ref} is {state}")
        elif text not in stored:
            wrong.append(f"{ref} holds an old version")
        elif stored.count("version") != 1:
            wrong.append(f"{ref} holds two versions")
    return wrong


def traces_of_the_deleted(url: str, oracle: Oracle) -> list[str]:
    """Names of deleted users and texts of deleted sources, in whatever table."""
    words = sorted(oracle.gone_users | {text.split()[1] for text in oracle.gone_texts})
    found: list[str] = []
    if not words:
        return found
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
            "AND table_schema IN ('public', 'access', 'chat', 'knowledge') AND table_name NOT LIKE 'embedding\\_%%'"
        ).fetchall()
        for schema, table in tables:
            if table in _REMEMBER_DELETIONS:
                continue
            query = sql.SQL("SELECT word FROM unnest(%s::text[]) AS word WHERE EXISTS (SELECT FROM {} AS it ").format(
                sql.Identifier(schema, table)
            ) + sql.SQL("WHERE it::text ~ ('\\y' || word || '\\y'))")
            found += [f"{word} is still in {table}" for (word,) in connection.execute(query, [words]).fetchall()]
    return found
