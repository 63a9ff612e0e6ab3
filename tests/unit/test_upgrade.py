# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from context_chat_backend import upgrade
from context_chat_backend.errors import StartError
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FIRST = "repair1000_date20240101000000.py"
SECOND = "repair5001_date20260101000000.py"
WRITES = "def run(previous_version, storage):\n    with (storage / 'ran').open('a') as f: f.write(__name__ + ' ')\n"


@pytest.fixture
def repairs(tmp_path: Path) -> Path:
    folder = tmp_path / "repairs"
    folder.mkdir()
    for name in (SECOND, FIRST):
        (folder / name).write_text(WRITES)
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A storage that once ran version 0.9."""
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "version.info").write_text("0.9.1")
    return storage


def ran(storage: Path) -> list[str]:
    file = storage / "ran"
    return file.read_text().split() if file.exists() else []


def test_a_fresh_storage_is_stamped_and_no_step_runs(tmp_path: Path, repairs: Path) -> None:
    storage = tmp_path / "fresh"

    assert upgrade.run(storage, repairs, "5.4.0") == []
    assert ran(storage) == []
    assert (storage / "version.info").read_text() == "5.4.0\n"
    assert (storage / "repair.info").read_text().split() == [FIRST, SECOND]


def test_a_configuration_put_into_a_fresh_storage_stays(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# mounted by an administrator")

    assert upgrade.run(tmp_path, ROOT / "repairs", "5.4.0") == []
    assert (tmp_path / "config.yaml").read_text() == "# mounted by an administrator"


def test_an_old_storage_gets_the_steps_in_order_and_once(old: Path, repairs: Path) -> None:
    assert upgrade.run(old, repairs, "5.4.0") == [FIRST, SECOND]
    assert ran(old) == [Path(FIRST).stem, Path(SECOND).stem]
    assert upgrade.run(old, repairs, "5.4.0") == []


def test_a_volume_of_the_reference_has_had_the_steps_up_to_its_version(old: Path, repairs: Path) -> None:
    for version in ("5.0.0-beta1\n", "5.0.0+"):
        (old / "version.info").write_text(version)
        (old / "repair.info").unlink(missing_ok=True)

        assert upgrade.run(old, repairs, "5.4.0") == [SECOND]


def test_a_step_the_administrator_skips_on_a_volume_of_the_reference_does_not_bring_back_older_ones(
    old: Path, repairs: Path
) -> None:
    third = "repair5009_date20270101000000.py"
    (repairs / third).write_text(WRITES)
    (old / "version.info").write_text("4.6.2+")
    (old / "repair.info").write_text(Path(SECOND).stem)

    assert upgrade.run(old, repairs, "5.9.0") == [third]


def test_a_step_added_for_the_version_that_runs_already_is_run(tmp_path: Path, repairs: Path) -> None:
    upgrade.run(tmp_path / "storage", repairs, "5.4.0")
    added = "repair5004_date20270101000000.py"
    (repairs / added).write_text(WRITES)

    assert upgrade.run(tmp_path / "storage", repairs, "5.4.0") == [added]


def test_a_list_of_done_steps_without_its_last_newline_is_not_garbled(old: Path, repairs: Path) -> None:
    (old / "repair.info").write_text(FIRST)

    assert upgrade.run(old, repairs, "5.4.0") == [SECOND]
    assert (old / "repair.info").read_text() == f"{FIRST}\n{SECOND}\n"


def test_a_step_may_do_without_the_storage(old: Path, repairs: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    (repairs / FIRST).write_text(f"def run(previous_version):\n    open({str(told)!r}, 'w').write(previous_version)\n")

    assert upgrade.run(old, repairs, "5.4.0") == [FIRST, SECOND]
    assert told.read_text() == "0.9.1"


def test_two_starts_at_once_run_a_step_once(old: Path, repairs: Path) -> None:
    slow = "import time\ndef run(previous_version, storage):\n    (storage / 'begun').touch()\n    time.sleep(0.5)\n"
    (repairs / FIRST).write_text(slow + "    with (storage / 'ran').open('a') as f: f.write('first ')\n")
    code = "import sys, pathlib as p, context_chat_backend.upgrade as u; u.run(*map(p.Path, sys.argv[1:]), '5')"
    command = [sys.executable, "-c", code, str(old), str(repairs)]

    starts = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]

    assert [process.wait(timeout=60) for process in starts] == [0, 0]
    assert ran(old) == ["first", Path(SECOND).stem]


def test_a_step_that_is_to_be_skipped_is(old: Path, repairs: Path) -> None:
    (old / "repair.info").write_text(f"{FIRST}\n")

    assert upgrade.run(old, repairs, "5.4.0") == [SECOND]


def test_a_failing_step_stops_the_start_and_says_the_way_out(old: Path, repairs: Path) -> None:
    (repairs / SECOND).write_text("def run(previous_version, storage):\n    raise RuntimeError('no room')\n")

    with pytest.raises(StartError) as caught:
        upgrade.run(old, repairs, "5.4.0")

    for words in (SECOND, "no room", "repair.info", "0.9.1"):
        assert words in str(caught.value)
    assert ran(old) == [Path(FIRST).stem]
    assert (old / "version.info").read_text() == "0.9.1"
    (repairs / SECOND).write_text(WRITES)
    assert upgrade.run(old, repairs, "5.4.0") == [SECOND]


def test_an_interrupted_run_goes_on_where_it_was_killed(old: Path, repairs: Path) -> None:
    (repairs / SECOND).write_text(
        "import time\ndef run(previous_version, storage):\n    (storage / 'begun').touch()\n    time.sleep(60)\n"
    )
    code = "import sys, pathlib as p, context_chat_backend.upgrade as u; u.run(*map(p.Path, sys.argv[1:]), '5')"

    process = subprocess.Popen([sys.executable, "-c", code, str(old), str(repairs)], cwd=ROOT)
    until((old / "begun").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (repairs / SECOND).write_text(WRITES)

    assert upgrade.run(old, repairs, "5.4.0") == [SECOND]
    assert ran(old) == [Path(FIRST).stem, Path(SECOND).stem]


def test_a_storage_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, repairs: Path) -> None:
    (tmp_path / "version.info").write_text("6.1.0\n")

    with pytest.raises(StartError, match=r"used by version 6\.1\.0, and this is 5\.4\.0: run 6\.1\.0 or a later"):
        upgrade.run(tmp_path, repairs, "5.4.0")
    assert (tmp_path / "version.info").read_text() == "6.1.0\n"
    assert not (tmp_path / "repair.info").exists()


def test_a_newer_patch_is_no_newer_version(tmp_path: Path, repairs: Path) -> None:
    (tmp_path / "version.info").write_text("5.4.9\n")

    upgrade.run(tmp_path, repairs, "5.4.0")

    assert (tmp_path / "version.info").read_text() == "5.4.0\n"


def test_a_storage_that_cannot_be_written_says_what_to_do(tmp_path: Path, repairs: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match="APP_PERSISTENT_STORAGE"):
        upgrade.run(tmp_path / "file" / "storage", repairs, "5.4.0")


def test_the_known_steps_change_an_old_storage_without_losing_anything(tmp_path: Path) -> None:
    (tmp_path / "version.info").write_text("1.0.0\n1.1.0\n1.2.0\n")
    (tmp_path / "config.yaml").write_text("# old")
    (tmp_path / "vector_db_data").mkdir()
    (tmp_path / "vector_db_data" / "chroma.sqlite3").touch()

    steps = upgrade.run(tmp_path, ROOT / "repairs", "5.4.0")

    assert [step[:10] for step in steps] == ["repair2001", "repair2002", "repair4000"]
    assert (tmp_path / "config.yaml.before-2001").read_text() == "# old"
    assert not (tmp_path / "config.yaml").exists()
    assert (tmp_path / "vector_db_data.before-4000" / "chroma.sqlite3").exists()
    assert (tmp_path / "version.info").read_text() == "5.4.0\n"


def test_a_list_of_versions_becomes_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "version.info").write_text("1.0.0\n1.1.0\n")
    shutil.copytree(ROOT / "repairs", tmp_path / "repairs")
    step = next((tmp_path / "repairs").glob("repair2002*"))

    upgrade._load(step).run("1.0.0", tmp_path)

    assert (tmp_path / "version.info").read_text() == "1.1.0\n"


def test_the_postgresql_of_the_reference_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "version.info").write_text("3.0.0\n")
    data = tmp_path / "vector_db_data" / "pgsql"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17")

    upgrade.run(tmp_path, ROOT / "repairs", "5.4.0")

    assert (data / "PG_VERSION").exists()
