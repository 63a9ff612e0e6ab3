# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is well-formed, with something wrong in it: bytes, archives, and values in JSON or YAML."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_NUMBERS = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x00\x00\x00",
    b"\x01\x00\x00\x00",
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, -0.0, 0.5, 1e308, float("inf"), float("nan"),
    "", " ", "x", "ü\U0001f98a", "\x00", "a\x00b", "\ud800", "x" * 5000, "true", "1", "²", "0x10", "9" * 5000, "1e999",
    "http://", "https://[", "files__default: 5", "files__default: ²", "a: b: c", "%s{}{0}", "../../etc/passwd", ",",
    [], [[]], [None], [1, "x"], {}, {"x": 1}, {"id": {}}, {"base_url": 1}, {"model": {"x": []}}, [[[[[[[[[]]]]]]]]],
)  # fmt: skip
"""Values that are seldom expected, all of which JSON of Python can write."""
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything within lists and dictionaries."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def replaced(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    """`whole` with another value at `place`."""
    changed = copy.deepcopy(whole)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def without(whole: Any, place: tuple[Any, ...]) -> Any:
    """`whole` without what stands at `place`."""
    changed = copy.deepcopy(whole)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return changed


def changed(*wholes: Any) -> st.SearchStrategy[Any]:
    """One of `wholes` with one value changed or missing; now and then any value."""
    near = [
        strategy
        for whole in wholes
        for place in [st.sampled_from(list(places(whole)))]
        for strategy in (
            st.builds(lambda place, value, whole=whole: replaced(whole, place, value), place, VALUES),
            st.builds(lambda place, whole=whole: without(whole, place), place),
        )
    ]
    return st.one_of(*near, VALUES)


def damaged_text(*wholes: Any) -> st.SearchStrategy[bytes]:
    """The JSON of one of `wholes`, changed, or damaged as text."""

    def damage(text: bytes, seed: int) -> bytes:
        return damaged(text, random.Random(seed))

    text = changed(*wholes).map(lambda value: json.dumps(value).encode())
    return text | st.builds(damage, text, st.integers(0, 2**32)) | st.just(b"[" * 20_000) | st.binary(max_size=50)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """`content` with one to eight damages; in archives, often to what is inside."""
    if content.startswith(b"PK") and chance.random() < 0.6:
        return _damaged_inside(content, chance)
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        _damage(data, chance)
    return bytes(data)


def _damage(data: bytearray, chance: random.Random) -> None:
    place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 16, 256))
    match chance.randrange(7):
        case 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        case 1:
            data[place : place + length] = chance.randbytes(length)
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 1000))
        case 4:
            number = chance.choice(_NUMBERS)
            data[place : place + len(number)] = number
        case 5:
            data[place:place] = chance.randbytes(length)
        case 6 if chance.random() < 0.3:
            del data[place:]


def _damaged_inside(content: bytes, chance: random.Random) -> bytes:
    target = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w") as copied:
            hit = chance.choice(archive.namelist())
            for entry in archive.infolist():
                data = bytearray(archive.read(entry))
                if entry.filename == hit:
                    _damage(data, chance)
                copied.writestr(entry.filename, bytes(data))
    except (zipfile.BadZipFile, OSError, IndexError):  # a sample that is broken already
        return content[: chance.randrange(len(content))]
    return target.getvalue()
