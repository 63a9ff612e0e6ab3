# SPDX-License-Identifier: AGPL-3.0-or-later
"""Catalogues as files (CSV, JSON, JSON lines) become rows; what is wrong is said with its line and column.

A file is read to its end before anything of it is loaded: one that is broken leaves the old catalogue as it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from context_chat_backend.answering.planner.columns import COLUMNS, Fault
from context_chat_backend.domain.catalogues import HOURS_PER_MONTH, Catalogue, Instance, ModelCard, Package
from context_chat_backend.errors import InvalidRequest

KINDS = (".csv", ".json", ".jsonl")
_MOST_SAID = 10
_CENT = Decimal("0.01")
_GIGABYTE = Decimal("0.1")
_Row = TypeVar("_Row", Instance, Package, ModelCard)
_Listed = Iterator[tuple[int, Any]]
"""Rows with the number of the line each begins in."""


def read_instances(path: Path) -> list[Instance]:
    """The machines in a file. Raises InvalidRequest with file, line and column of what is wrong."""
    return _read(path, Catalogue.COMPUTE, _instance, (("id",), ("provider", "name", "region")))


def read_packages(path: Path) -> list[Package]:
    """The packages in a file. Raises InvalidRequest as above."""
    return _read(path, Catalogue.PACKAGES, lambda values: Package(**values), (("id",),))


def read_models(path: Path) -> list[ModelCard]:
    """The models in a file, with their cards. Raises InvalidRequest as above."""
    return _read(path, Catalogue.MODELS, lambda values: ModelCard(**values), (("model_id",),))


def _read(
    path: Path,
    catalogue: Catalogue,
    made: Callable[[dict[str, Any]], _Row],
    keys: tuple[tuple[str, ...], ...],
) -> list[_Row]:
    rows: list[_Row] = []
    faults: list[str] = []
    seen: dict[tuple[Any, ...], int] = {}
    for line, given in _listed(path):
        try:
            row: _Row = made(_values(catalogue, given))
            for key in keys:
                _check_new(row, key, line, seen)
        except Fault as fault:
            faults.append(f"line {line}, {fault}")
            if len(faults) == _MOST_SAID:
                break
        else:
            rows.append(row)
    if faults:
        raise InvalidRequest(f"{path.name}: nothing was loaded: " + "; ".join(faults))
    if not rows:
        raise InvalidRequest(f"{path.name}: it holds no rows; nothing was loaded")
    return rows


def _check_new(row: object, key: tuple[str, ...], line: int, seen: dict[tuple[Any, ...], int]) -> None:
    """Raises Fault where another row has the same key."""
    before = seen.setdefault((key, *(getattr(row, name) for name in key)), line)
    if before != line:
        raise Fault(f"column {', '.join(key)}: the same stands in line {before}")


def _values(catalogue: Catalogue, given: Any) -> dict[str, Any]:
    columns = COLUMNS[catalogue]
    if not isinstance(given, Mapping):
        raise Fault("expected an object with the columns of the catalogue")
    for name in given:
        if name not in columns:
            raise Fault(f"column {name}: there is no such column; there are {', '.join(columns)}")
    values = {}
    for name, column in columns.items():
        value = given.get(name)
        if value is None or value == "":
            if column.is_needed:
                raise Fault(f"column {name}: it is missing")
            values[name] = column.default
            continue
        try:
            values[name] = column.read(value)
        except Fault as fault:
            raise Fault(f"column {name}: {fault}") from None
    return values


def _instance(values: dict[str, Any]) -> Instance:
    """With what follows from other columns, rounded so that the same file always gives the same row."""
    count, each, whole = values["gpu_count"], values["vram_per_gpu_gb"], values["vram_gb"]
    if each is None:
        each = Decimal(0) if whole is None or not count else (whole / count).quantize(_GIGABYTE)
    if whole is None:
        whole = each * count
    if (count == 0) != (whole == 0):
        raise Fault("column vram_gb: GPUs and their memory come together; set both gpu_count and vram_gb, or neither")
    if count and abs(each * count - whole) > Decimal("0.5") * count:
        raise Fault("column vram_gb: expected gpu_count times vram_per_gpu_gb")
    hourly, monthly = values["price_hourly"], values["price_monthly"]
    if monthly is None and hourly is not None:
        monthly = (hourly * HOURS_PER_MONTH).quantize(_CENT)
    if hourly is None and monthly is not None:
        hourly = max((monthly / HOURS_PER_MONTH).quantize(Decimal("0.0001")), Decimal("0.0001"))
    told = {"vram_per_gpu_gb": each, "vram_gb": whole, "price_hourly": hourly, "price_monthly": monthly}
    return Instance(**(values | told))


def _listed(path: Path) -> _Listed:
    """Raises InvalidRequest where the file cannot be read at all."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InvalidRequest(f"{path.name}: expected a file that ends in {', '.join(KINDS)}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequest(f"{path.name}: it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequest(f"{path.name}: line {line}: this is not UTF-8; save the file as UTF-8") from None
    readers = {".csv": _csv_rows, ".json": _json_rows, ".jsonl": _json_lines}
    try:
        yield from readers[kind](text)
    except (Fault, csv.Error) as fault:
        raise InvalidRequest(f"{path.name}: nothing was loaded: {fault}") from None


def _csv_rows(text: str) -> _Listed:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    begins = 1
    try:
        for cells in lines:
            line, begins = begins, lines.line_num + 1
            if not cells or cells[0].startswith("#"):
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                continue
            if len(cells) != len(names):
                raise Fault(f"line {line}: expected {len(names)} columns, found {len(cells)}")
            yield line, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise Fault(f"line {begins}: {error}") from None


def _json_rows(text: str) -> _Listed:
    """The members of the one list in the file; each with its line, which json.loads does not tell."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if at >= len(text) or text[at] != "[":
        raise Fault("line 1: expected a list of objects: [{…}, {…}]")
    at = _skip(text, at + 1)
    while at < len(text) and text[at] != "]":
        try:
            row, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise Fault(f"line {error.lineno}, character {error.colno}: {error.msg}") from None
        yield text.count("\n", 0, at) + 1, row
        at = _skip(text, end)
        if at < len(text) and text[at] == ",":
            at = _skip(text, at + 1)
        elif at < len(text) and text[at] != "]":
            raise Fault(f"line {text.count(chr(10), 0, at) + 1}: expected a comma or the end of the list")
    if at >= len(text) or text[at + 1 :].strip():
        raise Fault(f"line {text.count(chr(10)) + 1}: the list has no end, or something stands after it")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _json_lines(text: str) -> _Listed:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            yield number, json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
            raise Fault(f"line {number}: {said}") from None
