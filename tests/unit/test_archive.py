# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of a backup gets its name when it is whole, and touches nothing that lies beside it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from context_chat_backend.errors import StartError
from context_chat_backend.store.archive import Manifest, read, written

MANIFEST = Manifest("5.4.0", "2026-01-01", {}, vectors=True, schema="", spaces=[], tables=[])


def test_a_link_under_the_name_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o644)
    (tmp_path / "backup.unfinished").symlink_to(precious)

    with written(tmp_path / "backup") as archive:
        archive.finish(MANIFEST)

    assert precious.read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    assert not (tmp_path / "backup").is_symlink()
    with read(tmp_path / "backup") as made:
        assert made.manifest == MANIFEST


def test_a_readable_file_an_earlier_run_left_does_not_show_the_backup(tmp_path: Path) -> None:
    left = tmp_path / "backup.unfinished"
    left.write_text("left")
    left.chmod(0o644)

    with left.open() as watching, written(tmp_path / "backup") as archive:
        archive.finish(MANIFEST)
        assert watching.read() == "left"

    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]


def no_links(*_names: object, **_how: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_file_that_appeared_meanwhile_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, "link", link)
    file, other = tmp_path / "backup", tmp_path / "other"

    def write_while_it_appears() -> None:
        with written(file) as archive:
            archive.finish(MANIFEST)
            file.write_text("precious")

    with pytest.raises(StartError, match="appeared meanwhile"):
        write_while_it_appears()
    with written(other) as archive:
        archive.finish(MANIFEST)

    assert file.read_text() == "precious"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["backup", "other"]
    with read(other) as made:
        assert made.manifest == MANIFEST
