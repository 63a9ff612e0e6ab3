# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dump is rows and statements: commands to psql in it are not run."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from context_chat_backend.errors import StartError
from context_chat_backend.store.dump import loaded
from context_chat_backend.store.embedded import EmbeddedPostgres

TABLE = "CREATE TABLE public.docs (source_id text);\n"


@pytest.mark.parametrize(
    "text",
    [
        "{table}\\! touch {mark}\n",
        "{table}SELECT 1 \\g |touch {mark}\n",
        "\\connect postgres\n{table}",
        "\\restrict abc\n{table}\\unrestrict abc\n\\! touch {mark}\n",
        "{table}COPY public.docs (source_id) FROM stdin;\na\n\\.\n\\! touch {mark}\n",
    ],
)
async def test_a_dump_with_commands_to_psql_is_refused_before_it_is_run(
    postgres: EmbeddedPostgres, storage: Path, text: str
) -> None:
    mark, file = storage / "mark", storage / "dump.sql"
    file.write_text(text.format(table=TABLE, mark=mark))

    with pytest.raises(StartError, match=r"a command to psql in line \d+, .*pg_dump -Fc"):
        async with loaded(file, postgres):
            pass

    assert not mark.exists()


@pytest.mark.parametrize(
    "before",
    [
        "COPY public.is_not_there (source_id) FROM stdin;\n\\! touch {mark}\n\\.\n",
        "/*\nCOPY public.docs (source_id) FROM stdin;\n*/ \\! touch {mark}\n\\.\n",
    ],
)
async def test_commands_that_look_like_rows_are_not_run(postgres: EmbeddedPostgres, storage: Path, before: str) -> None:
    mark, file = storage / "mark", storage / "dump.sql"
    storage.chmod(0o777)
    file.write_text(TABLE + before.format(mark=mark))

    async with loaded(file, postgres):
        pass

    assert not mark.exists()


async def test_backslashes_in_rows_and_the_guard_of_pg_dump_are_no_commands(
    postgres: EmbeddedPostgres, storage: Path
) -> None:
    file = storage / "dump.sql"
    rows = "COPY public.docs (source_id) FROM stdin;\n\\\\! a\n\\N\n\\.\n"
    file.write_text(f"--\n-- PostgreSQL database dump\n--\n\n\\restrict aB3\n{TABLE}{rows}{rows}\\unrestrict aB3\n")

    async with loaded(file, postgres) as url, await psycopg.AsyncConnection.connect(url) as connection:
        found = await (await connection.execute("SELECT source_id FROM docs")).fetchall()

    assert found == [("\\! a",), (None,)] * 2
