# SPDX-License-Identifier: AGPL-3.0-or-later
"""`models`: the embedding models that can be fetched by name, without starting anything."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from context_chat_backend.cli.show import complaints, console
from context_chat_backend.cli.start import read_configuration
from context_chat_backend.errors import ConfigurationError, InvalidRequest
from context_chat_backend.inference.catalogue import CATALOGUE, RemoteModel
from context_chat_backend.inference.download import fetch, is_there, wrong_files

models = typer.Typer(no_args_is_help=True, help="Embedding models that can be fetched by name.")

Name = Annotated[str | None, typer.Argument(help="Its name; the configured one where it is missing.")]


@models.command("list")
def list_models() -> None:
    """Which there are, and which of them are here."""
    config = read_configuration(quiet=True)
    for model in CATALOGUE.values():
        here = "here" if is_there(model, config.storage / "model_files") else "not here"
        size = f"{model.size / 1024**2:.0f} MiB"
        console.print(f"{model.name:24} {size:>9}  {model.licence:10} {here}", markup=False)


@models.command("fetch")
def fetch_model(name: Name = None) -> None:
    """Download a model into model_files/; what is there and right is left alone."""
    config = read_configuration(quiet=True)
    model = _chosen(name, str(config.embedding.options.get("model")))
    if not config.download_models:
        raise ConfigurationError(
            f"CC_DOWNLOAD_MODELS_FROM_HF is false: nothing is downloaded; copy the folder {model.name} to "
            f"{config.storage / 'model_files'} from a machine that may"
        )
    folder = config.storage / "model_files"
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=complaints, transient=True) as progress:
        task = progress.add_task(model.name, total=model.size)
        asyncio.run(fetch(model, folder, lambda done, whole: progress.update(task, completed=done, total=whole)))
    console.print(f"{folder / model.name} is complete.", markup=False)


@models.command("verify")
def verify_model(name: Name = None) -> int:
    """Compare the files of a model with the checksums they must have."""
    config = read_configuration(quiet=True)
    model = _chosen(name, str(config.embedding.options.get("model")))
    wrong = wrong_files(model, config.storage / "model_files")
    for path in wrong:
        console.print(f"missing or wrong: {model.name}/{path}", markup=False)
    if not wrong:
        console.print(f"{model.name}: all files are right.", markup=False)
    return 1 if wrong else 0


def _chosen(name: str | None, configured: str) -> RemoteModel:
    model = CATALOGUE.get(name or configured)
    if model is None:
        said = f"there is no '{name}'" if name else "the configured embedding model is none that is fetched by name"
        raise InvalidRequest(f"{said}; there are: {', '.join(CATALOGUE)}")
    return model
