# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this Nextcloud holds: users, files, content of apps, who may read what (the oracle), and the queues."""

from __future__ import annotations

import base64
import mimetypes
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.nextcloud_double.queues import Queue, Row

FILES = "files__default"
GENERIC_ICON = "http://cloud.example/core/img/filetypes/file.svg"


@dataclass
class File:
    """A file, for all who may read it."""

    id: int
    path: str
    readers: set[str]
    bytes: bytes
    modified: int
    media_type: str
    size: int | None = None
    """What listings say where it is not the true size (an unscanned storage: -1)."""
    fails_with: dict[str, int] = field(default_factory=dict)
    """Status by user; '*' for all."""


@dataclass
class Item:
    """A piece of content of an app."""

    provider: str
    item: str
    title: str
    content: str
    readers: set[str]
    modified: int
    media_type: str


class World:
    """The state of one Nextcloud; its public methods, called by name over HTTP, are what people do in it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._last_id = 100
        self.companion = "pull"
        """'pull', 'push', or '' while the companion app is not installed or disabled."""
        self.users = {"admin"}
        self.files: dict[int, File] = {}
        self.folders: dict[int, str] = {}
        self.items: dict[str, Item] = {}
        self.file_queue, self.content_queue, self.actions = (Queue(self.now) for _ in range(3))

    def now(self) -> float:
        """Seconds since 1970, on a clock that tests move."""
        return time.time() + self._ahead

    # what tests and people do

    def move_clock(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead += seconds

    def set_companion(self, model: str) -> None:
        """Install another companion app, or ('') disable it."""
        self.companion = model

    def add_users(self, names: list[str]) -> None:
        """New accounts."""
        self.users |= set(names)

    def delete_user(self, user: str) -> None:
        """Delete an account."""
        self.users.discard(user)
        for readers in self._all_readers():
            readers.discard(user)
        self._act("delete_user_id", {"userId": user})

    def put_file(
        self,
        path: str,
        readers: list[str],
        text: str = "",
        body: str | None = None,
        file_id: int | None = None,
        modified: int | None = None,
        media_type: str | None = None,
        size: int | None = None,
    ) -> int:
        """Write a file (`body` in base64, or `text`): the new one's id, or the same when `file_id` names one."""
        content = base64.b64decode(body) if body is not None else text.encode()
        if file_id is None:
            self._last_id += 1
            file_id = self._last_id
        known = self.files.get(file_id)
        modified = modified or max(int(self.now()), known.modified + 1 if known else 0)
        kind = media_type or mimetypes.guess_type(path)[0] or "text/plain"
        self.files[file_id] = File(file_id, path, set(readers), content, modified, kind, size)
        self.users |= set(readers)
        self._queue_file(file_id)
        return file_id

    def put_files(self, files: list[dict[str, Any]]) -> list[int]:
        """Several at once."""
        return [self.put_file(**file) for file in files]

    def change_file_silently(self, file_id: int, text: str) -> None:
        """New bytes that no listing tells of yet."""
        self.files[file_id].bytes = text.encode()

    def fail_file(self, file_id: int, user: str, status: int) -> None:
        """Let downloads of a file fail for a user ('*': all); 0 ends it."""
        if status:
            self.files[file_id].fails_with[user] = status
        else:
            self.files[file_id].fails_with.pop(user, None)

    def add_folder(self, path: str) -> int:
        """A folder's id; files are in it when their path begins with it."""
        self._last_id += 1
        self.folders[self._last_id] = path.rstrip("/") + "/"
        return self._last_id

    def share(self, file_id: int, users: list[str]) -> None:
        """Let users read a file."""
        self.files[file_id].readers |= set(users)
        self._access(f"{FILES}: {file_id}", "allow", users)

    def unshare(self, file_id: int, users: list[str]) -> None:
        """Take a file from users."""
        self.files[file_id].readers -= set(users)
        self._access(f"{FILES}: {file_id}", "deny", users)

    def declare_readers(self, ref: str, users: list[str]) -> None:
        """Exactly these may read."""
        self._readers(ref).clear()
        self._readers(ref).update(users)
        self._act("update_access_decl_source_id", {"userIds": users, "sourceId": ref})

    def delete_file(self, file_id: int) -> None:
        """Delete a file; its row of the queue, if any, finds no node any more."""
        del self.files[file_id]
        self._act("delete_source_ids", {"sourceIds": [f"{FILES}: {file_id}"]})

    def submit(
        self, provider: str, item: str, title: str, content: str, readers: list[str], modified: int | None = None
    ) -> bool:
        """An app submits content; False when a row for it still exists, and the newer text is lost (trap 3)."""
        ref = f"{provider}: {item}"
        known = self.items.get(ref)
        modified = modified or max(int(self.now()), known.modified + 1 if known else 0)
        new = Item(provider, item, title, content, set(readers), modified, "text")
        self.users |= set(readers)
        row = self.content_queue.add(
            {
                "userIds": list(readers), "reference": ref, "title": title, "content": content, "modified": modified,
                "type": new.media_type, "provider": provider, "size": len(content.encode()),
            },
            ref,
        )  # fmt: skip
        if row is not None:
            self.items[ref] = new
        return row is not None

    def change_item(self, ref: str, op: str, users: list[str]) -> None:
        """An app lets users read an item of its ('allow'), or takes it from them ('deny')."""
        readers = self.items[ref].readers
        self.items[ref].readers = readers | set(users) if op == "allow" else readers - set(users)
        self._access(ref, op, users)

    def share_provider(self, provider: str, op: str, users: list[str]) -> None:
        """Let users read everything of a provider ('allow'), or take it from them ('deny')."""
        for thing in self._things_of(provider):
            thing.readers = thing.readers | set(users) if op == "allow" else thing.readers - set(users)
        self._act("update_access_provider_id", {"op": op, "userIds": users, "providerId": provider})

    def delete_provider(self, provider: str) -> None:
        """An app and its content go."""
        self.items = {ref: item for ref, item in self.items.items() if item.provider != provider}
        self._act("delete_provider_id", {"providerId": provider})

    def enqueue_action(self, kind: str, payload: Any) -> int | None:
        """A row of the actions queue as given, however wrong."""
        return self.actions.add({"type": kind, "payload": payload})

    def enqueue_actions(self, rows: list[tuple[str, Any]]) -> None:
        """Many of them."""
        for kind, payload in rows:
            self.enqueue_action(kind, payload)

    def enqueue_document(self, queue: str, payload: dict[str, Any]) -> int | None:
        """A row of 'files' or 'content_providers' as given, however wrong."""
        return (self.file_queue if queue == "files" else self.content_queue).add({"raw": payload})

    def queue_lengths(self) -> dict[str, int]:
        """Rows that are still there, leased or not."""
        return {
            "files": len(self.file_queue.rows),
            "content_providers": len(self.content_queue.rows),
            "actions": len(self.actions.rows),
        }

    def readable_by(self, user: str) -> list[str]:
        """The oracle: the ids of all sources the user may read now."""
        readable = [f"{FILES}: {file.id}" for file in self.files.values() if user in file.readers]
        return sorted(readable + [ref for ref, item in self.items.items() if user in item.readers])

    # what the companion answers

    def lease_documents(self, limit: int) -> dict[str, dict[str, Any]]:
        """`files` and `content_providers`, each at most `limit`, by row id."""
        listed: dict[str, Any] = {}
        while len(listed) < limit:
            rows = self.file_queue.lease(limit - len(listed))
            if not rows:
                break
            for row in rows:
                payload = row.payload.get("raw") or self._listed(row)
                if payload is None:
                    self.file_queue.delete([row.id])  # its node is gone
                else:
                    listed[str(row.id)] = payload
        content = {str(row.id): row.payload.get("raw") or row.payload for row in self.content_queue.lease(limit)}
        return {"files": listed, "content_providers": content}

    def lease_actions(self, limit: int) -> dict[str, Any]:
        """Actions by row id."""
        return {str(row.id): {"id": row.id, **row.payload} for row in self.actions.lease(limit)}

    def download(self, file_id: int, user: str) -> tuple[int, bytes]:
        """Status and bytes of a file as `user` sees it."""
        file = self.files.get(file_id)
        if user not in self.users:
            return 500, b""
        if file is None or user not in file.readers:
            return 404, b""
        status = file.fails_with.get(user) or file.fails_with.get("*") or 200
        return status, file.bytes if status == 200 else b""

    def resolve(self, refs: Iterable[str], user: str) -> list[str]:
        """Folders replaced by the files of that user below them."""
        resolved: list[str] = []
        for ref in refs:
            number = ref.removeprefix(f"{FILES}: ")
            folder = self.folders.get(int(number)) if number.isdigit() else None
            if folder is None:
                if not ref.startswith("files") or ": " in ref:
                    resolved.append(ref)
            else:
                resolved += [
                    f"{FILES}: {file.id}"
                    for file in self.files.values()
                    if user in file.readers and file.path.startswith(folder)
                ]
        return resolved

    def enrich(self, sources: list[dict[str, Any]], user: str) -> list[dict[str, str]]:
        """Content items first, then files; what a user does not see looks deleted."""
        items, files = [], []
        for source in sources:
            ref = source["source_id"]
            provider, _, item = ref.partition(": ")
            if provider == FILES:
                files.append(self._enriched_file(ref, item, user))
            elif ref in self.items:
                items.append(
                    {
                        "id": provider,
                        "label": f"{provider.partition('__')[0].title()} - Items{source.get('title') or f' #{item}'}",
                        "icon": "/apps/some/img/app-dark.svg",
                        "url": f"http://cloud.example/index.php/apps/{provider}/{item}",
                    }
                )
        return items + files

    def _enriched_file(self, ref: str, number: str, user: str) -> dict[str, str]:
        file = self.files.get(int(number)) if number.isdigit() else None
        seen = file is not None and user in file.readers
        return {
            "id": ref,
            "label": file.path.rpartition("/")[2] if file and seen else "deleted file",
            "icon": f"http://cloud.example/preview?id={number}" if seen else GENERIC_ICON,
            "url": f"http://cloud.example/index.php/f/{number}",
        }

    def _listed(self, row: Row) -> dict[str, Any] | None:
        file = self.files.get(row.payload["file_id"])
        if file is None or not file.readers:
            return None
        return {
            "userIds": sorted(file.readers), "reference": f"{FILES}: {file.id}", "title": f"files/{file.path}",
            "content": None, "modified": file.modified, "type": file.media_type, "provider": FILES,
            "size": len(file.bytes) if file.size is None else file.size,
        }  # fmt: skip

    def _queue_file(self, file_id: int) -> None:
        self.file_queue.add({"file_id": file_id}, str(file_id))

    def _all_readers(self) -> list[set[str]]:
        return [file.readers for file in self.files.values()] + [item.readers for item in self.items.values()]

    def _readers(self, ref: str) -> set[str]:
        if ref.startswith(f"{FILES}: "):
            return self.files[int(ref.removeprefix(f"{FILES}: "))].readers
        return self.items[ref].readers

    def _things_of(self, provider: str) -> list[File | Item]:
        if provider == FILES:
            return list(self.files.values())
        return [item for item in self.items.values() if item.provider == provider]

    def _access(self, ref: str, op: str, users: list[str]) -> None:
        self._act("update_access_source_id", {"op": op, "userIds": users, "sourceId": ref})

    def _act(self, kind: str, payload: dict[str, Any]) -> None:
        self.actions.add({"type": kind, "payload": payload})
