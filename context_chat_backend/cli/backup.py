# SPDX-License-Identifier: AGPL-3.0-or-later
"""`backup` and `restore`: the whole index in one file, and back; `upgrade-database`: to another PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from context_chat_backend.cli.show import complaints, console
from context_chat_backend.cli.start import read_configuration
from context_chat_backend.store.archive import Manifest
from context_chat_backend.wiring.backups import back_up, carry_over, put_back

File = Annotated[Path, typer.Argument(help="The file of the backup.")]


def backup(
    file: File,
    without_vectors: Annotated[
        bool, typer.Option("--without-vectors", help="Much smaller; texts are embedded again after a restore.")
    ] = False,
) -> None:
    """Write the whole index into a new file, as it is at this moment, while the service runs."""
    config = read_configuration(quiet=True)
    with complaints.status("backing up") as shown:
        manifest = asyncio.run(
            back_up(
                config,
                file.absolute(),
                vectors=not without_vectors,
                progress=lambda table: shown.update(f"backing up {table}"),
            )
        )
    console.print(f"{file}: {_content(manifest)}, {file.stat().st_size / 1024**2:.1f} MiB", markup=False)


def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the backup in the place of the index that is there.")
    ] = False,
) -> None:
    """Make the index what it was when the backup was written. The service must be stopped."""
    config = read_configuration(quiet=True)
    with complaints.status("restoring") as shown:
        manifest = asyncio.run(
            put_back(config, file.absolute(), replace=replace, progress=lambda what: shown.update(f"restoring {what}"))
        )
    console.print(f"Restored: {_content(manifest)}, as of {manifest.made_at}.", markup=False)
    if not manifest.vectors:
        console.print("Without vectors: words find everything now; the service embeds the texts again (see: status).")


def upgrade_database(
    postgres: Annotated[
        Path | None, typer.Option("--postgres", help="The programs of the earlier PostgreSQL: a folder, …/16/bin.")
    ] = None,
) -> int:
    """Carry the embedded database over from an earlier major version of PostgreSQL. The service must be stopped."""
    config = read_configuration(quiet=True)
    with complaints.status("upgrading") as shown:
        carried = asyncio.run(carry_over(config, postgres, lambda what: shown.update(f"upgrading: {what}")))
    if carried is None:
        console.print("There is nothing to carry over.")
        return 1
    console.print(
        f"Carried over: {_content(carried.manifest)}. The old data lie in {carried.kept}: remove that folder "
        "when all is well.",
        markup=False,
    )
    return 0


def _content(manifest: Manifest) -> str:
    return f"{manifest.counts.get('sources', 0)} sources, {manifest.counts.get('chunks', 0)} chunks"
