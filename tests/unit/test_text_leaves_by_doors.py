# SPDX-License-Identifier: AGPL-3.0-or-later
"""No SQL outside the store, and in it no statement that gives readable text without saying for whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "context_chat_backend"
SQL = re.compile(
    r"\bSELECT\b[\s\S]*\bFROM\b|\bINSERT\s+INTO\b|\bUPDATE\s+[\w.]+\s+SET\b|\bDELETE\s+FROM\b|\bTRUNCATE\b\s+\w"
    r"|\b(CREATE|ALTER|DROP)\s+(TABLE|INDEX|FUNCTION|SCHEMA|POLICY|ROLE|EXTENSION|VIEW)\b|\bCOPY\s+\w+\s*\("
)
READABLE = ("chunk_text", "chat.messages", "spool", "leased_row", "task")
"""Tables that hold what users wrote, or what was answered to them."""
FOR_AN_ASKER = {
    ("search", "create_function"), ("neighbours", "around"), ("conversations", "messages"), ("conversations", "recent"),
    ("conversations", "add"), ("planning", "messages"), ("planning", "add"),
}  # fmt: skip
"""What is given to somebody: these name him."""
OF_THE_PROGRAM = {
    ("chunks", "insert_texts"), ("chunks", "without_vector"), ("words", "chunks_of"), ("reference", "same_texts"),
    ("ledger", "insert_spooled"), ("ledger", "read_piece"), ("ledger", "claim"), ("queued", "keep"), ("queued", "kept"),
    ("queued", "settle"), ("excluded", "drop"), ("access", "sweep_sources"), ("overview", "find"),
    ("overview", "retry"), ("overview", "out_of_reach"), ("overview", "drop_kept"), ("tasks", "ended"),
    ("standing", "rest"),
}  # fmt: skip
"""What indexing and upkeep need: no entry point may reach them (below), or they count and name rows alone."""
GIVING_TEXT = {
    "chunks": {"without_vector"}, "words": {"chunks_of"}, "ledger": {"read_piece"}, "queued": {"kept"},
}  # fmt: skip
"""Those of them that give text, and who may send them."""
SENDERS = {
    "chunks": "store/spaces.py store/chunks.py", "words": "store/words.py", "ledger": "store/ledger.py",
    "queued": "store/queued.py",
}  # fmt: skip


def statements() -> Iterator[tuple[tuple[str, str], str]]:
    """Every named statement without its comments."""
    for path in sorted((PACKAGE / "store" / "sql").glob("*.sql")):
        named = re.split(r"^-- name: (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        for name, body in zip(named[::2], named[1::2], strict=True):
            yield (path.stem, name), re.sub(r"--.*", "", body)


def reading(text: str) -> bool:
    """Whether a statement gives something, and touches what users wrote."""
    tables = "|".join(re.escape(table) for table in READABLE)
    return bool(re.search(r"\b(SELECT|RETURNING)\b", text) and re.search(rf"(?<![.\w])(?:{tables})\b", text))


def written_in(tree: ast.Module) -> Iterator[str]:
    """Every text of a module that is not a docstring."""
    described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.value


def test_no_module_outside_the_store_holds_sql() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {text[:60]!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "store"
        for text in written_in(ast.parse(path.read_text(encoding="utf-8")))
        if SQL.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["SELECT text\nFROM chunk_text", "INSERT  INTO a", "UPDATE chat.messages SET x", "DROP TABLE a", "COPY a (b)"],
)
def test_sql_is_seen_over_lines_and_in_pieces(text: str) -> None:
    assert [one for one in written_in(ast.parse(f'x = f"""{text} {{y}}"""')) if SQL.search(one)]


def test_every_statement_that_gives_what_users_wrote_is_known() -> None:
    """A new one has to name its asker, or to be one of the program's own work."""
    found = {name for name, text in statements() if reading(text)}

    assert found == FOR_AN_ASKER | OF_THE_PROGRAM


@pytest.mark.parametrize("name", sorted(FOR_AN_ASKER), ids="-".join)
def test_what_is_given_to_somebody_names_him(name: tuple[str, str]) -> None:
    text = dict(statements())[name]

    assert "%(name)s" in text or "asker_name" in text
    assert "%(realm)s" in text or "%(asker_realm)s" in text or "asker_realm" in text


def test_texts_of_the_programs_own_work_are_sent_for_by_the_store_alone() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        place = str(path.relative_to(PACKAGE))
        for subject, name in re.findall(r'statement\(\s*"(\w+)",\s*"(\w+)"', path.read_text(encoding="utf-8")):
            if name in GIVING_TEXT.get(subject, ()):
                assert place in SENDERS[subject].split(), place
