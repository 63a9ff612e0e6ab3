# SPDX-License-Identifier: AGPL-3.0-or-later
"""`planner`: the catalogues that deployments are planned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from context_chat_backend.answering.planner.cards import embed_cards
from context_chat_backend.answering.planner.catalogue_files import read_instances, read_models, read_packages
from context_chat_backend.answering.planner.model_tool import pieces_meant
from context_chat_backend.cli.planner_smoke import smoke
from context_chat_backend.cli.show import complaints, console
from context_chat_backend.cli.start import ROOT, with_backend
from context_chat_backend.domain.catalogues import Catalogue, Changes
from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.wiring import Backend

planner = typer.Typer(no_args_is_help=True, help="The catalogues that deployments are planned from.")
planner.command("smoke")(smoke)

SAMPLES = {
    Catalogue.COMPUTE: "cloud_instances.csv",
    Catalogue.PACKAGES: "k8s_packages.json",
    Catalogue.MODELS: "hf_models.jsonl",
}
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@planner.command("migrate")
def migrate() -> int:
    """Make the tables, as every start does; nothing where they are there."""

    async def work(_: Backend) -> int:
        console.print("The tables are there.")
        return 0

    return with_backend(work)


@planner.command("load")
def load(
    catalogue: Annotated[Catalogue, typer.Argument(help="Which one the file is.")],
    file: Annotated[Path, typer.Argument(help="CSV, JSON or JSON lines; it replaces what was there.")],
    as_json: Json = False,
) -> int:
    """Replace a catalogue by a file, as a whole or not at all."""

    async def work(backend: Backend) -> int:
        _show(catalogue, await _load(backend, catalogue, file), as_json)
        return 0

    return with_backend(work)


@planner.command("embed-cards")
def embed() -> int:
    """Embed the cards of models that are new, or all where another model embeds now."""

    async def work(backend: Backend) -> int:
        console.print(f"{await _embed(backend)} cards were embedded.")
        return 0

    return with_backend(work)


@planner.command("sample-data")
def sample_data(as_json: Json = False) -> int:
    """Load the samples that come with this program; their prices are made up."""

    async def work(backend: Backend) -> int:
        for catalogue, name in SAMPLES.items():
            _show(catalogue, await _load(backend, catalogue, ROOT / "samples" / "catalogues" / name), as_json)
        embedded = await _embed(backend)
        if not as_json:
            console.print(f"{embedded} cards were embedded.")
        return 0

    return with_backend(work)


async def _load(backend: Backend, catalogue: Catalogue, file: Path) -> Changes:
    catalogues = backend.planner.place.catalogues
    match catalogue:
        case Catalogue.COMPUTE:
            return await catalogues.replace_instances(read_instances(file))
        case Catalogue.PACKAGES:
            return await catalogues.replace_packages(read_packages(file))
        case Catalogue.MODELS:
            return await catalogues.replace_models(read_models(file))


async def _embed(backend: Backend) -> int:
    place = backend.planner.place
    pieces, embedder = pieces_meant(place), backend.spaces.answering.embedder
    if embedder is None:
        raise ModelUnavailable("the embedding model cannot be used here")
    if pieces.model != place.embedding_model():
        raise ConfigurationError(
            f"planner.hf.embedding_model (HF_EMBEDDING_MODEL_NAME): it is {pieces.model}, and this program embeds by "
            f"{place.embedding_model()}: leave it empty, or configure that model below embedding"
        )
    return await embed_cards(place.cards, embedder, pieces, lambda done: complaints.print(f"{done} cards", end="\r"))


def _show(catalogue: Catalogue, changes: Changes, as_json: bool) -> None:
    counts = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    if as_json:
        print(json.dumps({"catalogue": str(catalogue), **counts, "unchanged": changes.unchanged}))
    else:
        console.print(
            f"{catalogue}: {changes.added} added, {changes.changed} changed, {changes.removed} removed, "
            f"{changes.unchanged} as they were"
        )
