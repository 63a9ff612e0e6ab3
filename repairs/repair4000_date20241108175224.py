# SPDX-License-Identifier: AGPL-3.0-or-later
"""4.0: a vector store of an older embedding is of no use any more. It is put aside, never deleted: it is not ours."""

from pathlib import Path


def run(previous_version: str, storage: Path) -> None:
    """Rename the folder of the old vector store, so that nothing opens it."""
    old = storage / "vector_db_data"
    # From 4.0 on the folder of this name is the reference's PostgreSQL, which its import reads.
    if old.exists() and not (old / "PG_VERSION").exists() and not any(old.glob("*/PG_VERSION")):
        old.rename(storage / "vector_db_data.before-4000")
