# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a plan is made of: rows that tools have found, and sums over them. Nobody but the server writes here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from context_chat_backend.answering.planner.ranking import ScoredModel
from context_chat_backend.answering.planner.workload import Workload
from context_chat_backend.domain import Passage
from context_chat_backend.domain.catalogues import Instance, Package

SAMPLE = "sample"
"""The source of prices that are made up."""


@dataclass(frozen=True)
class Offer:
    """A machine, and the stated limits it does not keep."""

    instance: Instance
    relaxed: tuple[str, ...] = ()


@dataclass(frozen=True)
class StackEntry:
    """A package, and what it is for."""

    package: Package
    purpose: str
    required: bool = True


@dataclass
class Material:
    """All that was found for one plan."""

    workload: Workload
    offers: list[Offer] = field(default_factory=list)
    models: list[ScoredModel] = field(default_factory=list)
    stack: list[StackEntry] = field(default_factory=list)
    documents: list[Passage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was given up to do what was asked."""
    found: dict[str, int] = field(default_factory=lambda: {"compute": 0, "models": 0, "packages": 0})
    """How many rows each kind of tool gave."""

    @property
    def machines(self) -> int:
        """How many are rented."""
        return self.workload.stated.replicas or 1

    @property
    def unit_price(self) -> Decimal | None:
        """What the first machine costs a month; None where that is not known."""
        return self.offers[0].instance.price_monthly if self.offers else None

    @property
    def monthly_total(self) -> Decimal | None:
        """What all machines cost a month."""
        return None if self.unit_price is None else self.unit_price * self.machines

    @property
    def currency(self) -> str:
        """Of the first machine."""
        return self.offers[0].instance.currency if self.offers else "USD"

    @property
    def price_as_of(self) -> date | None:
        """The oldest day of the prices that are shown."""
        days = [offer.instance.price_as_of for offer in self.offers if offer.instance.price_as_of is not None]
        return min(days, default=None)

    @property
    def holds_samples(self) -> bool:
        """Whether a price that is shown is made up."""
        return any(offer.instance.price_source == SAMPLE for offer in self.offers)

    def names(self) -> Iterator[str]:
        """All that is named in the plan, as its rows name it."""
        for offer in self.offers:
            one = offer.instance
            yield from (one.id, one.provider, one.name, one.region, one.gpu_model or "")
        for model in self.models:
            yield from (model.model.model_id, model.model.license, model.model.pipeline_tag)
        for entry in self.stack:
            yield from (entry.package.name, entry.package.version)
