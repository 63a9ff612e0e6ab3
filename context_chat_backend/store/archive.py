# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of a backup: a ZIP archive that is there as a whole or not at all.

It holds the schema the rows are of, one member a table as COPY writes it, and `backup.json`, which says what is in
there. A file that was cut off has no directory and is refused; every member has a checksum.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from context_chat_backend.errors import StartError

FORMAT = 1
_MANIFEST = "backup.json"


@dataclass(frozen=True)
class ArchivedTable:
    """One table in a backup."""

    name: str
    columns: tuple[str, ...]
    binary: bool
    """Vectors; all else is text, which every version of PostgreSQL reads alike."""
    rows: int

    @property
    def member(self) -> str:
        """Its name in the archive."""
        return f"tables/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """What is in a backup."""

    version: str
    """Of the program that made it."""
    made_at: str
    steps: dict[str, str]
    """The repair steps its database had had, and the version that made each."""
    vectors: bool
    schema: str
    """Statements that make the tables, without the embedding spaces."""
    spaces: list[str]
    """Statements that make those."""
    tables: list[ArchivedTable]
    format: int = FORMAT
    counts: dict[str, int] = field(default_factory=dict)
    """What people want to know: sources, chunks."""


class ArchiveWriter:
    """A backup that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def table(self, name: str, *, binary: bool) -> Iterator[IO[bytes]]:
        """Where the rows of a table go."""
        member = zipfile.ZipInfo(f"tables/{name}")
        # Numbers at random do not become smaller.
        member.compress_type = zipfile.ZIP_STORED if binary else zipfile.ZIP_DEFLATED
        with self._archive.open(member, "w", force_zip64=True) as stream:
            yield stream

    def finish(self, manifest: Manifest) -> None:
        """The last member."""
        self._archive.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=1))


class ArchiveReader:
    """A backup that is read."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    @contextmanager
    def table(self, table: ArchivedTable) -> Iterator[IO[bytes]]:
        """The rows of a table. Raises StartError when they are damaged."""
        try:
            with self._archive.open(table.member) as stream:
                yield stream
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise StartError(f"the backup is damaged ({table.name}): restore another one") from error


@contextmanager
def written(file: Path) -> Iterator[ArchiveWriter]:
    """A new backup at `file`, for its owner's eyes; it gets its name when all is written and on the disk.

    Raises StartError when it is there already or cannot be written.
    """
    if file.exists():
        raise StartError(f"{file} is there already: name another file, or remove it")
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        # What lies under that name, a link of somebody else's too, is neither followed nor written to.
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w+b") as stream:
            with zipfile.ZipFile(stream, "w", compresslevel=1) as archive:
                yield ArchiveWriter(archive)
            stream.flush()
            os.fsync(stream.fileno())
        _name(unfinished, file)
    except FileExistsError as error:
        raise StartError(f"{file} appeared meanwhile, or is being written: name another file") from error
    except OSError as error:
        raise StartError(f"{file} cannot be written ({error.strerror}): name a file where there is room") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _name(unfinished: Path, file: Path) -> None:
    """Give it its name, which, unlike a renaming, replaces nothing."""
    try:
        os.link(unfinished, file, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        unfinished.rename(file)


@contextmanager
def read(file: Path) -> Iterator[ArchiveReader]:
    """The backup at `file`. Raises StartError when it is none, was cut off, or is of a later format."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise StartError(f"{file} is no backup, or it was cut off on its way here: copy it once more") from error
    except OSError as error:
        raise StartError(f"{file} cannot be read ({error.strerror})") from error
    with archive:
        try:
            told = json.loads(archive.read(_MANIFEST))
            if told["format"] != FORMAT:
                raise StartError(
                    f"{file} was made by version {told['version']}, whose backups this one does not know: restore it "
                    "with that version or a later one"
                )
            tables = [ArchivedTable(**{**table, "columns": tuple(table["columns"])}) for table in told.pop("tables")]
            manifest = Manifest(**told, tables=tables)
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise StartError(f"{file} is no backup of this program") from error
        yield ArchiveReader(archive, manifest)
