# SPDX-License-Identifier: AGPL-3.0-or-later
"""`collections import-qa` and `import-chroma`: questions with answers, from a file or from another server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from context_chat_backend.cli.collections import Name, collections
from context_chat_backend.cli.named import collection_named
from context_chat_backend.cli.remote import AdminToken, AdminUrl, RemoteAdmin
from context_chat_backend.cli.show import console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.errors import InvalidRequest, Unavailable
from context_chat_backend.indexing.collecting import Pair
from context_chat_backend.wiring import Backend

_AT_ONCE = 1000
_PAGE = 500
_OF_CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@collections.command("import-qa")
def import_pairs(
    name: Name,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help='A JSON list of {"question", "answer"}.')],
    admin_url: AdminUrl = None,
    admin_token: AdminToken = None,
) -> int:
    """Put questions with their answers into a collection, which is made where there is none."""
    pairs = _pairs(file)
    if admin_url is not None:
        remote = RemoteAdmin(admin_url, admin_token)
        if name not in {one["name"] for one in remote.ask("GET", "collections")}:
            remote.ask("POST", "collections", body={"name": name})
        for some in _cut(pairs):
            remote.ask("POST", "collections", name, "qa-pairs", body=[asdict(pair) for pair in some])
        console.print(f"{len(pairs)} are in {name}.", markup=False)
        return 0
    return with_backend(lambda backend: _put(backend, name, pairs, []), indexing=True)


@collections.command("import-chroma")
def import_chroma(url: Annotated[str, typer.Argument(help="The address of the Chroma server.")], name: Name) -> int:
    """Copy a collection of a Chroma server, with the same name: pairs as pairs, other texts as documents."""
    pairs: list[Pair] = []
    texts: list[tuple[str, str]] = []
    for id_, text, about in _records(url, name):
        question, answer = about.get("question"), about.get("answer")
        if isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip():
            pairs.append(Pair(question.strip(), answer.strip()))
        elif text and text.strip():
            texts.append((id_, text))
    return with_backend(lambda backend: _put(backend, name, pairs, texts), indexing=True)


async def _put(backend: Backend, name: str, pairs: Sequence[Pair], texts: Sequence[tuple[str, str]]) -> int:
    collection = collection_named(name)
    await backend.collections.ensure(collection)
    waiting = refused = 0
    for some in _cut(pairs):
        admitted = await backend.collecting.admit_pairs(collection, some)
        waiting += await backend.still_waiting(collection.itself, admitted.refs)
        refused += len(admitted.refused)
    for id_, text in texts:
        item = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in id_)[:128] or "text"
        await backend.collecting.admit(collection, item, id_, "text/plain", text.encode())
    console.print(
        f"{len(pairs) + len(texts) - refused} are in {name}, {waiting} of the pairs still wait.", markup=False
    )
    return 1 if refused else 0


def _pairs(file: Path) -> list[Pair]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        pairs = [Pair(str(one["question"]).strip(), str(one["answer"]).strip()) for one in given]
    except (OSError, ValueError, TypeError, KeyError):
        raise InvalidRequest(f'{file}: expected a JSON list of {{"question": …, "answer": …}}') from None
    if not all(pair.question and pair.answer for pair in pairs):
        raise InvalidRequest(f"{file}: a question or an answer is empty")
    return pairs


def _cut(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), _AT_ONCE):
        yield pairs[start : start + _AT_ONCE]


def _records(url: str, name: str) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Id, text and what else is known of each record of a collection of Chroma. Raises Unavailable."""
    try:
        with httpx.Client(base_url=url.rstrip("/"), timeout=60) as client:
            base = _OF_CHROMA
            found = client.get(f"{base}/{name}")
            if found.status_code == httpx.codes.NOT_FOUND:
                base = "/api/v1/collections"
                found = client.get(f"{base}/{name}")
            id_ = found.raise_for_status().json()["id"]
            offset = 0
            while True:
                body = {"limit": _PAGE, "offset": offset, "include": ["documents", "metadatas"]}
                page = client.post(f"{base}/{id_}/get", json=body).raise_for_status().json()
                yield from zip(
                    page["ids"], page["documents"], ({**(one or {})} for one in page["metadatas"]), strict=True
                )
                offset += _PAGE
                if len(page["ids"]) < _PAGE:
                    return
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"Chroma does not give the collection {name} ({type(error).__name__})") from None
