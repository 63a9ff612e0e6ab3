# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a reason means to somebody who misses a source, and what may be done about it."""

from __future__ import annotations

from collections.abc import Mapping

from context_chat_backend.domain import Reason

_AGAIN = "then run 'context-chat retry'"

CURES: Mapping[str, str] = {
    Reason.EMPTY: "it holds no text. A scanned document or a picture needs OCR: see 'context-chat doctor'",
    Reason.TOO_LARGE: "it is larger than max_source_bytes: raise that in config.yaml, then deliver it again",
    Reason.UNSUPPORTED: "its format is not read; docs/indexing.md lists those that are",
    Reason.ENCRYPTED: "it needs a password: store it without one",
    Reason.DAMAGED: "its bytes are not what its type says: open it, store it anew",
    Reason.PARSER_DIED: f"the process that read it crashed: store it anew, {_AGAIN}",
    Reason.PARSER_TIMEOUT: f"reading it took too long: split it, or {_AGAIN[5:]} when the machine is less busy",
    Reason.PARSER_MEMORY: f"reading it took more memory than allowed: split it, {_AGAIN}",
    Reason.TOO_MANY_PARTS: "it holds more pages, entries or attachments than a document: split it",
    Reason.TOO_DEEP: "what it holds stands in more levels of each other than a document has: store it anew",
    Reason.EXPANDS: "unpacked it is far larger than its size, as files made to do harm are: store it anew",
    Reason.ENTITIES: "its XML declares entities that name files or each other: store it without them",
    Reason.TOO_MUCH_TEXT: "it holds more text than a document: split it",
    Reason.EXCLUDED: "a rule below 'exclude' in config.yaml leaves it out, or a folder '.noindex' or '.nomedia' in its "
    "path: change that, then deliver it again",
    Reason.EMBEDDING_DOWN: "the embedding model does not answer: see 'context-chat doctor'; it goes on by itself",
    Reason.EMBEDDING_REFUSED: f"the embedding model takes a text of it in no length: choose another, {_AGAIN}",
    Reason.DISK_FULL: "make room on the disk with the storage: see 'context-chat doctor'; it goes on by itself",
    Reason.NEXTCLOUD_DOWN: "Nextcloud does not answer: see 'context-chat doctor'; it goes on by itself",
    Reason.UNREADABLE: f"none of its readers could open it in Nextcloud: open it there, {_AGAIN}",
    Reason.INTERNAL: f"a fault of the program, named in its log under this id: mend the cause or report it, {_AGAIN}",
}
"""By the reason as the ledger holds it."""
