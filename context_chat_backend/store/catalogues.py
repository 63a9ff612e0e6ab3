# SPDX-License-Identifier: AGPL-3.0-or-later
"""The catalogues that deployments are planned from: replaced as a whole, and searched within limits.

A load is one transaction: until its end, and after one that breaks off, searches find what was there before. Searches
run in the name of who asks, as those of documents do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql

from context_chat_backend.domain import Principal
from context_chat_backend.domain.catalogues import Changes, Instance, ModelCard, Package, lowered
from context_chat_backend.store.database import Connection, Database, statement

_INSTANCES = ("cloud", "instances")
_PACKAGES = ("cloud", "bitnami_packages")
_MODELS = ("hf", "models")


@dataclass(frozen=True, slots=True)
class Limits:
    """What machines have to be like; None is no limit. Texts are compared in lower case."""

    gpu_needed: bool | None = None
    min_vram_gb: float | None = None
    """GB of all GPUs together."""
    min_vram_per_gpu_gb: float | None = None
    min_gpu_count: int | None = None
    gpu_model: str | None = None
    """A part of its name, taken literally."""
    max_price_monthly: float | None = None
    max_price_hourly: float | None = None
    providers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    min_vcpu: float | None = None
    min_ram_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is in the catalogues."""

    instances: int
    packages: int
    models: int
    newest_price: date | None
    holds_samples: bool
    """Whether prices are samples rather than offers."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model whose name somebody wrote."""

    short_name: str
    """In lower case, without its owner."""
    model_id: str
    pipeline_tag: str
    parameters_b: Decimal | None


@dataclass(frozen=True, slots=True)
class Called:
    """What the catalogues call things."""

    providers: tuple[str, ...] = ()
    """Who rents out machines, in order."""
    regions: tuple[str, ...] = ()
    """Where machines stand, in order."""
    models: tuple[NamedModel, ...] = ()
    """Those that were named: by their id, or its part after the owner in lower case; of each name one."""


class Catalogues:
    """The catalogues of one database. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace_instances(self, rows: Iterable[Instance]) -> Changes:
        """Make `rows` the catalogue of machines."""
        async with self._database.transaction() as connection:
            changes = await _replaced(connection, _INSTANCES, "id", _columns(Instance), map(astuple, rows))
        await self._analyse(_INSTANCES)
        return changes

    async def replace_packages(self, rows: Iterable[Package]) -> Changes:
        """Make `rows` the catalogue of packages."""
        tuples = (tuple(list(v) if isinstance(v, tuple) else v for v in astuple(row)) for row in rows)
        async with self._database.transaction() as connection:
            changes = await _replaced(connection, _PACKAGES, "id", _columns(Package), tuples)
        await self._analyse(_PACKAGES)
        return changes

    async def replace_models(self, rows: Iterable[ModelCard]) -> Changes:
        """Make `rows` the catalogue of models; cards that are the same keep their pieces."""
        listed = list(rows)
        columns = tuple(name for name in _columns(ModelCard) if name != "card")
        tuples = (tuple(_plain(getattr(row, name)) for name in columns) for row in listed)
        async with self._database.transaction() as connection:
            await connection.execute(statement("model_cards", "heads"))
            changes = await _replaced(connection, _MODELS, "model_id", columns, tuples, in_place=True)
            await connection.execute(statement("model_cards", "incoming_cards"))
            await _copy(
                connection,
                sql.SQL(statement("model_cards", "copy_cards")),
                ((row.model_id, row.card_hash, row.card) for row in listed if row.card),
            )
            for name in ("add_cards", "unlink", "link", "drop_cards", "drop_chunks"):
                await connection.execute(statement("model_cards", name))
        await self._analyse(_MODELS, ("hf", "model_to_card"), ("hf", "cards"))
        return changes

    async def sizes(self) -> Sizes:
        """How much there is."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("catalogues", "sizes"))).fetchone()
        assert row is not None
        return Sizes(*row)

    async def called(self, asker: Principal, words: Sequence[str]) -> Called:
        """What things are called: all providers and regions, and the models that some of `words` name."""
        parameters = {"names": [lowered(word) for word in words], "ids": list(words)}
        async with self._database.reading_as(asker) as connection:
            providers = await connection.execute(statement("catalogues", "providers"))
            regions = await connection.execute(statement("catalogues", "regions"))
            models = await connection.execute(statement("catalogues", "models_named"), parameters)
            return Called(
                tuple(row[0] for row in await providers.fetchall()),
                tuple(row[0] for row in await regions.fetchall()),
                tuple(NamedModel(*row) for row in await models.fetchall()),
            )

    async def instances(self, asker: Principal, limits: Limits, *, limit: int) -> list[Instance]:
        """The first `limit` machines within the limits, in the order in which they are offered."""
        parameters = _parameters(limits) | {"limit": limit}
        async with self._database.reading_as(asker) as connection:
            rows = await (await connection.execute(statement("catalogues", "instances"), parameters)).fetchall()
        return [Instance(*row) for row in rows]

    async def count_instances(self, asker: Principal, limits: Limits) -> int:
        """How many machines there are within the limits."""
        async with self._database.reading_as(asker) as connection:
            row = await (
                await connection.execute(statement("catalogues", "count_instances"), _parameters(limits))
            ).fetchone()
        assert row is not None
        return int(row[0])

    async def packages(self, asker: Principal, queries: Sequence[str], *, limit: int) -> list[list[Package]]:
        """For each query the first `limit` packages that hold its words or its letters, in their order."""
        parameters = {"queries": list(queries), "limit": limit}
        async with self._database.reading_as(asker) as connection:
            rows = await (await connection.execute(statement("catalogues", "packages"), parameters)).fetchall()
        found: list[list[Package]] = [[] for _ in queries]
        for number, *columns in rows:
            found[number - 1].append(_package(*columns))
        return found

    async def packages_named(self, asker: Principal, names: Sequence[str]) -> list[Package]:
        """Packages with these very names, whatever their case, in no order."""
        parameters = {"names": [lowered(name) for name in names]}
        async with self._database.reading_as(asker) as connection:
            rows = await (await connection.execute(statement("catalogues", "packages_named"), parameters)).fetchall()
        return [_package(*row) for row in rows]

    async def _analyse(self, *tables: tuple[str, str]) -> None:
        async with self._database.transaction() as connection:
            for table in tables:
                named = sql.SQL(statement("catalogues", "analysed")).format(table=sql.Identifier(*table))
                await connection.execute(named)


def _package(
    id_: str,
    name: str,
    version: str,
    app_version: str,
    description: str,
    repository: str,
    keywords: list[str],
    stars: int,
    official: bool,
) -> Package:
    return Package(id_, name, version, app_version, description, repository, tuple(keywords), stars, official)


def _columns(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parameters(limits: Limits) -> dict[str, Any]:
    values = {field.name: _plain(getattr(limits, field.name)) for field in fields(limits)}
    for name in ("providers", "regions"):
        if values[name] is not None:
            values[name] = [lowered(text) for text in values[name]]
    if limits.gpu_model is not None:
        values["gpu_model"] = lowered(limits.gpu_model)
    # A limit of another type than its column is looked for in no index.
    return {name: Decimal(repr(value)) if isinstance(value, float) else value for name, value in values.items()}


async def _replaced(
    connection: Connection,
    table: tuple[str, str],
    key: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    in_place: bool = False,
) -> Changes:
    """Bring `rows` into a table, and what is not among them out of it; `in_place` spares rows that others hang on."""

    def named(name: str) -> sql.Composed:
        listed = [sql.Identifier(column) for column in columns]
        return sql.SQL(statement("catalogues", name)).format(
            table=sql.Identifier(*table),
            key=sql.Identifier(key),
            columns=sql.SQL(", ").join(listed),
            of_incoming=sql.SQL(", ").join(sql.SQL("incoming.{}").format(column) for column in listed),
            of_old=sql.SQL(", ").join(sql.SQL("old.{}").format(column) for column in listed),
        )

    await connection.execute(statement("catalogues", "alone"))
    await connection.execute(named("incoming"))
    await _copy(connection, named("copy_in"), rows)
    removed = await connection.execute(named("removed"))
    unchanged = await connection.execute(named("unchanged"))
    if in_place:
        changed = await connection.execute(named("changed_in_place"))
        added = await connection.execute(named("added"))
        return Changes(added.rowcount, changed.rowcount, removed.rowcount, unchanged.rowcount)
    # Deleted before they are added anew: two rows may have changed places.
    changed = await connection.execute(named("changed"))
    added = await connection.execute(named("added"))
    return Changes(added.rowcount - changed.rowcount, changed.rowcount, removed.rowcount, unchanged.rowcount)


async def _copy(connection: Connection, into: sql.SQL | sql.Composed, rows: Iterable[Sequence[Any]]) -> None:
    async with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            await copy.write_row(row)
