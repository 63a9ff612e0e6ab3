# SPDX-License-Identifier: AGPL-3.0-or-later
"""Schemas of earlier versions, kept in tests/data/schemas, and what a database consists of, for comparison.

`python -m tests.schemas 5.5.0` keeps today's schema as that of version 5.5.0, and writes the last part of the newest
step: what schema.sql holds as a whole (tables, functions) and the version before had not. Changes of what was there
are written by hand. It is run before a release, and whenever the schema changes before then.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psycopg

from context_chat_backend.store.history import steps

FOLDER = Path(__file__).resolve().parent / "data" / "schemas"
SCHEMA = Path(__file__).resolve().parents[1] / "context_chat_backend" / "store" / "schema.sql"

_NEW = "-- What is new as a whole, as schema.sql makes it (written by python -m tests.schemas)."
_MADE = r"^(?:CREATE|ALTER) (?:UNLOGGED )?(?:TABLE|FUNCTION|TYPE|SCHEMA) ([\w.]+)"
_CATALOGUE = """
WITH ours AS (
    SELECT oid FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
), extension_member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
)
SELECT 'schema ' || nspname FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
UNION ALL
SELECT format('%s%s %s%s%s options %s', CASE WHEN relpersistence = 'u' THEN 'unlogged ' END,
    CASE relkind WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' ELSE 'table' END,
    oid::regclass, CASE WHEN relrowsecurity THEN ' row security' END, CASE WHEN relforcerowsecurity THEN ' forced' END,
    reloptions)
FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL
SELECT format('column %s.%s %s%s%s%s storage %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN ' not null' END,
    CASE WHEN attidentity <> '' THEN ' identity ' || attidentity::text END,
    ' default ' || pg_get_expr(adbin, adrelid), attstorage)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r'
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace IN (SELECT oid FROM ours) AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint on %s: %s', conrelid::regclass, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours) AND contype <> 'n'
UNION ALL
SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL
SELECT pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace IN (SELECT oid FROM ours) AND prokind = 'f'
  AND NOT EXISTS (SELECT FROM extension_member WHERE objid = pg_proc.oid AND classid = 'pg_proc'::regclass)
UNION ALL
SELECT format('type %s: %s', enumtypid::regtype, string_agg(enumlabel, ', ' ORDER BY enumsortorder))
FROM pg_enum GROUP BY enumtypid
UNION ALL
SELECT format('policy %s on %s: %s %s %s', polname, polrelid::regclass, polcmd, pg_get_expr(polqual, polrelid),
    pg_get_expr(polwithcheck, polrelid))
FROM pg_policy
"""


def catalogue(url: str) -> set[str]:
    """Everything the program has made in a database: one line each. The order of columns does not count."""
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute(_CATALOGUE).fetchall() if row[0]}


def fixtures() -> dict[str, Path]:
    """Earlier schemas by the version that had them."""
    paths = sorted(FOLDER.glob("*.sql"), key=lambda path: (path.stem != "first", path.stem))
    return {path.stem: path for path in paths}


def keep(version: str) -> Path:
    """Write today's schema as the fixture of `version`, with the steps a fresh database of it has noted."""
    noted = "".join(f"INSERT INTO repair (name, version) VALUES ('{step.name}', '{version}');\n" for step in steps())
    path = FOLDER / f"{version}.sql"
    path.write_text(f"{SCHEMA.read_text(encoding='utf-8')}\n-- What a fresh database notes.\n{noted}", encoding="utf-8")
    return path


def complete(step: Path, before: Path) -> None:
    """Write the last part of a step: the blocks of schema.sql about tables and functions that `before` has not."""
    known = set(re.findall(_MADE, before.read_text(encoding="utf-8"), re.MULTILINE))
    blocks = SCHEMA.read_text(encoding="utf-8").split("\n\n")
    named = [(block, set(re.findall(_MADE, block, re.MULTILINE))) for block in blocks]
    new = [block.strip() for block, names in named if names and not names & known]
    head, _, _ = step.read_text(encoding="utf-8").partition(_NEW)
    step.write_text(f"{head}{_NEW}\n\n" + "\n\n".join(new) + "\n", encoding="utf-8")


if __name__ == "__main__":
    released = [path for name, path in fixtures().items() if name != sys.argv[1]]
    complete(steps()[-1], released[-1])
    print(keep(sys.argv[1]))
