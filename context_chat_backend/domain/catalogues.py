# SPDX-License-Identifier: AGPL-3.0-or-later
"""What deployments are planned from: machines with prices, packages for Kubernetes, models with their cards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

HOURS_PER_MONTH = 730

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def lowered(text: str) -> str:
    """`text` with A to Z in lower case, as the database compares it wherever it stands; other letters stay."""
    return text.translate(_LOWER)


class Catalogue(StrEnum):
    """The catalogues by the names they have on the command line."""

    COMPUTE = "compute"
    PACKAGES = "packages"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine somebody rents out in one region."""

    id: str
    provider: str
    name: str
    region: str
    gpu_model: str | None
    gpu_count: int
    vram_per_gpu_gb: Decimal
    vram_gb: Decimal
    """Of all its GPUs together."""
    vcpu: int
    ram_gb: Decimal
    price_hourly: Decimal | None
    price_monthly: Decimal | None
    currency: str
    price_as_of: date | None
    price_source: str


@dataclass(frozen=True, slots=True)
class Package:
    """A chart that can be installed in a cluster."""

    id: str
    name: str
    version: str
    app_version: str
    description: str
    repository: str
    keywords: tuple[str, ...]
    stars: int
    official: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A published model, and what its authors write about it."""

    model_id: str
    pipeline_tag: str
    license: str
    downloads: int
    likes: int
    parameters_b: Decimal | None
    """Billions."""
    tags: tuple[str, ...]
    updated_at: datetime
    card: str

    @property
    def card_hash(self) -> str:
        """By which models that share a card are known."""
        return hashlib.sha256(self.card.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load did to a catalogue."""

    added: int
    changed: int
    removed: int
    unchanged: int
