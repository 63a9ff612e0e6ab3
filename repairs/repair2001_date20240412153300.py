# SPDX-License-Identifier: AGPL-3.0-or-later
"""2.1: hardware detection chooses the configuration again. The old one is kept as `config.yaml.before-2001`."""

from pathlib import Path


def run(previous_version: str, storage: Path) -> None:
    """Put the configuration aside, when there is one."""
    configuration = storage / "config.yaml"
    if configuration.exists():
        configuration.rename(storage / "config.yaml.before-2001")
