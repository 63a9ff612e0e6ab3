# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that are zipped folders of XML: OpenDocument, Office Open XML, books."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote
from xml.etree import ElementTree

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected

_MAX_BYTES = 64 * 1024 * 1024
"""A member of this size needs about half a gigabyte as a tree."""
_FAULTS = (
    zipfile.BadZipFile, zlib.error, ElementTree.ParseError, LookupError, RuntimeError, NotImplementedError, EOFError,
    ValueError, StopIteration,
)  # fmt: skip


@contextmanager
def opened(content: bytes) -> Iterator[Package]:
    """The package in `content`. Whatever is wrong with it inside of the block raises SourceRejected."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield Package(archive)
    except _FAULTS as error:
        raise SourceRejected(Reason.DAMAGED) from error


class Package:
    """The members of an open package."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = frozenset(archive.namelist())
        self._relations: dict[str, dict[str, tuple[str, str]]] = {}

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises SourceRejected when it is too large, KeyError when it is missing."""
        if self._archive.getinfo(name).file_size > _MAX_BYTES:
            raise SourceRejected(Reason.TOO_MUCH_TEXT)
        return self._archive.read(name)

    def tree(self, name: str, shortened: Callable[[bytes], bytes] | None = None) -> ElementTree.Element:
        """The elements of a member, as far as `shortened` leaves them. Raises SourceRejected and KeyError as `read`."""
        data = self.read(name)
        if b"<!ENTITY" in data:  # entities could expand without end
            raise SourceRejected(Reason.DAMAGED)
        if shortened is not None:
            with suppress(ElementTree.ParseError):  # cut in the wrong place: as a whole, then
                return ElementTree.fromstring(shortened(data))  # noqa: S314 - no entities: see above
        return ElementTree.fromstring(data)  # noqa: S314 - no entities: see above

    def found(self, name: str) -> ElementTree.Element | None:
        """The elements of a member that may be missing."""
        return self.tree(name) if name in self.names else None

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """What a member of Office Open XML points to inside the package: by id, the last word of its type and its name.

        With "" the relations of the package itself.
        """
        if name in self._relations:
            return self._relations[name]
        folder, base = posixpath.split(name)
        tree = self.found(posixpath.join(folder, "_rels", f"{base}.rels"))
        pointed = self._relations[name] = {}
        for relation in tree if tree is not None else ():
            if relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, unquote(relation.get("Target", ""))))
                pointed[relation.get("Id", "")] = (relation.get("Type", "").rpartition("/")[2], target.lstrip("/"))
        return pointed

    def related(self, name: str, kind: str) -> list[str]:
        """The names of the members of one kind that a member points to, as far as they are there."""
        return [target for type_, target in self.relations(name).values() if type_ == kind and target in self.names]


def local(element: ElementTree.Element) -> str:
    """The name of an element without its namespace, of which there is more than one for the same vocabulary."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: ElementTree.Element, name: str) -> str | None:
    """An attribute by its name without namespace."""
    if (plain := element.get(name)) is not None:
        return plain
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), None)
