# SPDX-License-Identifier: AGPL-3.0-or-later
"""Users' bytes on their way lie in a folder of the process, and go with it, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from context_chat_backend.wiring.temporary import temporary_folder

KILLED = """
import os, sys
from pathlib import Path
from context_chat_backend.wiring.temporary import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "part-1").write_bytes(b"bytes of somebody")
    print(folder, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_it_goes_at_the_end(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        (folder / "part-1").write_bytes(b"bytes of somebody")

    assert not folder.exists()


def test_what_a_killed_process_left_goes_with_the_next_start_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "part-of-an-earlier-version").write_bytes(b"bytes of somebody")
    with temporary_folder(tmp_path) as living:
        told = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True).stdout
        left = Path(told.strip())
        assert (left / "part-1").exists()

        with temporary_folder(tmp_path) as own:
            assert {path.name for path in (tmp_path / "tmp").iterdir()} == {living.name, own.name, "lock"}
