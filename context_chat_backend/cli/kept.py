# SPDX-License-Identifier: AGPL-3.0-or-later
"""`kept`: what is kept about a user, or of a text, wherever it is; nothing is the proof that it was deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from context_chat_backend.cli.show import console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.domain import Principal, Realm, realm_of_issuer
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.store.kept import MARKS_OF_DELETION, Kept
from context_chat_backend.wiring import Backend

_PIECE = 1 << 20
_PASSED_OVER = ("model_files", "models", "postgres18", "vector_db_data")
"""Of the storage: models, and the files of databases, which are asked themselves."""
KEPT = 1


def kept(
    user: Annotated[str | None, typer.Option("--user", "-u", help="About this user.")] = None,
    realm: Annotated[
        str, typer.Option("--realm", help="Whose user: nextcloud, local, or an issuer of tokens.")
    ] = "nextcloud",
    text: Annotated[str | None, typer.Option("--text", help="Of this text, at least 4 characters.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> int:
    """Look through every table and file for a user, or a text: the exit code is 0 where nothing is kept, else 1."""
    if (user is None) == (text is None):
        raise InvalidRequest("kept: name a --user, or a --text")
    if text is not None and len(text.strip()) < 4:
        raise InvalidRequest("--text: expected at least 4 characters: fewer stand everywhere")
    about = None if user is None else _user(user, realm)

    async def work(backend: Backend) -> int:
        looking = Kept(backend.database)
        rows = await (looking.about(about) if about is not None else looking.holding(text or ""))
        sought = json.dumps(about.name, ensure_ascii=False) if about is not None else text or ""
        files = await asyncio.to_thread(files_holding, backend.config.storage, sought)
        marks = {table: count for table, count in rows.items() if about is not None and table in MARKS_OF_DELETION}
        left = {table: count for table, count in rows.items() if table not in marks}
        if as_json:
            print(json.dumps({"rows": left, "files": files, "marks": marks}))
        else:
            for place, count in left.items():
                console.print(f"{count:>8} rows of {place}", markup=False)
            for file in files:
                console.print(f"         {file}", markup=False)
            for place, count in marks.items():
                console.print(f"{count:>8} marks of deletions in {place}, which go within three days", markup=False)
            if not left and not files:
                console.print("Nothing is kept.")
        return KEPT if left or files else 0

    return with_backend(work)


def files_holding(storage: Path, text: str) -> list[str]:
    """The files of logs, records and work in progress that hold `text`, or as JSON writes it. Blocks."""
    forms = {text.encode(), json.dumps(text)[1:-1].encode()}
    places = [top for top in sorted(storage.iterdir()) if top.name not in _PASSED_OVER]
    files = [file for top in places for file in (sorted(top.rglob("*")) if top.is_dir() else [top])]
    return [str(file.relative_to(storage)) for file in files if file.is_file() and _holds(file, forms)]


def _holds(path: Path, forms: set[bytes]) -> bool:
    longest = max(map(len, forms))
    before = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if any(form in before + piece for form in forms):
                return True
            before = piece[-longest:]
    return False


def _user(name: str, realm: str) -> Principal:
    try:
        return Principal(Realm(realm) if realm in set(Realm) else realm_of_issuer(realm), name)
    except ValueError as error:
        raise InvalidRequest(f"--user: {error}") from None
