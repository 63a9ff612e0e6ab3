# SPDX-License-Identifier: AGPL-3.0-or-later
"""2.2: `version.info` holds one version; it used to be a list, one line for each version that ran."""

from pathlib import Path


def run(previous_version: str, storage: Path) -> None:
    """Keep the last line of the list."""
    file = storage / "version.info"
    lines = file.read_text(encoding="utf-8").split() if file.exists() else []
    if len(lines) > 1:
        file.write_text(f"{lines[-1]}\n", encoding="utf-8")
