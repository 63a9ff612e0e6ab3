# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much, how long and how often those who send requests and files may occupy the program."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Whole numbers. Those of connections hold for each listener, those of requests for the process."""

    connections: int = 10_000
    """Open at once; one more is told to come back."""
    header_seconds: int = 20
    """From the opening of a connection, or the end of the last answer on it, to the end of a request's headers."""
    header_bytes: int = 65_536
    """Of the request line and all headers."""
    headers: int = 100
    body_seconds: int = 30
    """So long the sender of a body may be silent."""
    body_bytes_per_second: int = 1024
    """So fast a body comes, once `body_seconds` were waited for it."""
    reader_seconds: int = 60
    """So long somebody may take nothing of an answer that waits for him."""
    request_seconds: int = 3600
    """From the headers of a request to the end of its answer."""
    requests_at_once: int = 256
    requests_at_once_per_asker: int = 64
    """Of one user, or of one key."""
    program_body_bytes: int = 2 * 1024**2
    """JSON of programs."""
    planner_body_bytes: int = 256 * 1024
    """JSON of the planner."""
    chat_body_bytes: int = 1024**2
    """Of a message to the chat server."""
    import_body_bytes: int = 64 * 1024**2
    """JSON of pairs of questions and answers."""
    document_body_bytes: int = 1024**3
    """Files of programs, all of one request."""
    nextcloud_body_bytes: int = 32 * 1024**2
    """JSON of Nextcloud: the ids of 100 000 users, or a scope of a million files, have room."""
    push_body_bytes: int = 4 * 1024**3
    """Files of Nextcloud. The companion sends 25 sources of together less than 200 MiB."""
    parts: int = 1000
    """Of one multipart body."""
    part_headers: int = 64
    part_header_bytes: int = 16 * 1024**2
    """Of one part. Every user who may read a file stands in a header of it: 100 000 ids have room."""
    json_depth: int = 64
    """Lists and objects in each other."""
    answer_bytes: int = 64 * 1024**2
    """Of what a server of models, Nextcloud or Elasticsearch answers to one request; files have limits of their own."""
    question_characters: int = 32_768
    """Of a question Nextcloud asks."""
    file_seconds: int = 120
    """To read a file. This and what follows hold for each file in itself."""
    file_memory_bytes: int = 1024**3
    """Address space of the process that reads it."""
    file_characters: int = 20_000_000
    """More text than this is a dump, not a document."""
    file_parts: int = 200_000
    """A part is a page, a heading, a sheet."""
    file_pages: int = 5_000
    file_attachments: int = 250
    file_depth: int = 200
    """Levels of brackets or elements in JSON and XML."""
    file_nested_files: int = 5
    """Files within files: a document in a mail in a mail."""
    file_entries: int = 20_000
    """Of an archive, which office files are."""
    file_expanded_bytes: int = 512 * 1024**2
    file_expanded_ratio: int = 200
    """Bytes an archive may hold for each of its own; text in XML seldom shrinks below a fiftieth."""
