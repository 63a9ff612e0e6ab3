# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Debian in a folder, built by the instructions of a Dockerfile: what an image would hold, without a Docker engine.

Mirror, index of Python packages, proxies and certificates are those this machine is set up with.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.dockerfile import Dockerfile, Stage
from tests.program import ROOT

_MINUTES = 60
_FROM_OUTSIDE = re.compile(r"(?i)^(https?_proxy|no_proxy|ftp_proxy|pip_.*|ssl_cert_file|requests_ca_bundle)$")
_MOUNTS = """
set -eu
tree=$1; shift
for folder in $BOUND; do mkdir -p "$tree$folder"; mount --bind -o ro "$folder" "$tree$folder"; done
mkdir -p "$tree/dev/shm"
if [ -n "$WRITABLE" ]; then
    mount --bind "$tree" "$tree"
    for folder in $WRITABLE; do mount --bind "$tree$folder" "$tree$folder"; done
    mount -o remount,bind,ro "$tree"
fi
mount -t proc proc "$tree/proc"
mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
exec chroot "$tree" "$@"
"""
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def missing() -> str | None:
    """What this machine lacks to make such a tree; None where it can."""
    if os.geteuid() != 0:
        return "only root can make a tree of Debian"
    for program in ("debootstrap", "unshare", "chroot", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try_out = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True)
    return None if try_out.returncode == 0 else "this container may not make namespaces"


def mirror(sources: Path = Path("/etc/apt")) -> str | None:
    """The first mirror of Debian itself that apt is set up with."""
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for file in files:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        for line in text.splitlines():
            found = re.match(r"(?:deb\s+(?:\[.*?\]\s+)?|URIs:\s*)(\S+)", line)
            if found and re.search(r"/debian/?$", found[1]):
                return found[1]
    return None


def settings_from_outside() -> tuple[dict[str, str], list[str]]:
    """Variables for pip and apt as this machine has them, and folders they name."""
    known = {name: value for name, value in os.environ.items() if _FROM_OUTSIDE.match(name)}
    listed = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        found = re.match(r"(?:global|install)\.([\w-]+)='(.*)'$", line)
        if found:
            known.setdefault("PIP_" + found[1].upper().replace("-", "_"), found[2].replace("\\n", " "))
    for name in known.keys() & {"PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}:
        known[name] = "/run/certificates.crt"
    # The pages of an index lead to files beside it.
    words = [word.removesuffix("/simple") for value in known.values() for word in value.rstrip("/").split()]
    named = [re.sub(r"^file:/*", "/", word) for word in words]
    return known, sorted({word for word in named if word.startswith("/") and Path(word).is_dir()})


class Tree:
    """A folder with a Debian in it, and what a Dockerfile has set for the commands in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.folder = "/"
        self.user = "0"
        self.not_run: list[str] = []
        """Instructions that need what is not here, each with the reason."""

    def debootstrap(self, suite: str) -> None:
        """Put a minimal Debian there. Raises CalledProcessError."""
        there = mirror()
        command = ["debootstrap", "--variant=minbase", suite, str(self.root), *([there] if there else [])]
        subprocess.run(command, check=True, capture_output=True, timeout=15 * _MINUTES)
        for name in ("resolv.conf", "hosts"):
            shutil.copyfile(Path("/etc") / name, self.root / "etc" / name)
        if Path(_CERTIFICATES).exists():
            shutil.copyfile(_CERTIFICATES, self.root / "run" / "certificates.crt")
        configured = Path("/etc/apt/apt.conf.d")
        for file in configured.glob("*"):
            if re.search(r"(?i)proxy|::verify|cainfo", file.read_text(encoding="utf-8", errors="replace")):
                shutil.copyfile(file, self.root / "etc/apt/apt.conf.d" / file.name)

    def copy(self, root: Path) -> Tree:
        """The same in another folder."""
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.root), str(root)], check=True)
        made = Tree(root)
        made.environment, made.arguments = dict(self.environment), dict(self.arguments)
        made.folder, made.user, made.not_run = self.folder, self.user, list(self.not_run)
        return made

    def command(self, words: Sequence[str], user: str | None = None) -> list[str]:
        """What runs these words in the tree, in a process namespace of its own that ends with it."""
        uid = (user or self.user).partition(":")[0]
        home = next((line.split(":")[5] for line in self._users() if uid in line.split(":")[:3:2]), "/")
        go = f'cd {self.folder} && HOME={home} && export HOME && exec "$@"'
        as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid != "0" else []
        inside = [*as_user, "/bin/sh", "-c", go, "sh", *words]
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", _MOUNTS, "sh"]
        return [*own, str(self.root), *inside]

    def _users(self) -> list[str]:
        return (self.root / "etc/passwd").read_text(encoding="utf-8").splitlines()

    def variables(self, more: Mapping[str, str] | None = None, *, building: bool = False) -> dict[str, str]:
        """The environment of a command in the tree; WRITABLE in `more`: the only folders it may write to."""
        outside, bound = settings_from_outside()
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        known = path | self.environment | dict(more or {})
        mounted = {"BOUND": " ".join(bound if building else []), "WRITABLE": ""}
        return mounted | (known | outside | self.arguments if building else known)

    def run(
        self, words: Sequence[str], user: str | None = None, *, building: bool = False, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree until its end."""
        known = self.variables(more, building=building)
        return subprocess.run(
            self.command(words, user), env=known, capture_output=True, text=True, timeout=20 * _MINUTES
        )

    def path(self, name: str) -> Path:
        """Where a path of the tree lies on this machine."""
        return self.root / os.path.normpath(f"/{self.folder}/{name}" if not name.startswith("/") else name).lstrip("/")


def ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore keeps this path of the project out: it, or a folder above it."""
    parts = name.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(
        fnmatch.fnmatchcase(
            path if "/" in pattern.removeprefix("**/") else path.split("/")[-1], pattern.removeprefix("**/")
        )
        if pattern.startswith("**/")
        else fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")
        for pattern in patterns
        for path in above
    )


def context() -> list[str]:
    """The files of the project that a build gets."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, "the files of the project are those git knows"
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file() and not ignored(name, patterns)]


class Build:
    """The stages of a Dockerfile as trees below one folder."""

    def __init__(self, dockerfile: Dockerfile, folder: Path) -> None:
        self._dockerfile = dockerfile
        self._folder = folder
        self._made: dict[str, Tree] = {}

    def stage(self, name: str) -> Tree:
        """The tree of that stage, made at the first call. Raises AssertionError with what failed."""
        if name not in self._made:
            stage = self._dockerfile.stages[name]
            base = stage.base.format() if stage.base not in ("${DEVICE}",) else self._dockerfile.arguments["DEVICE"]
            if base in self._dockerfile.stages:
                tree = self.stage(base).copy(self._folder / name)
                tree.arguments = {}
            else:
                tree = Tree(self._folder / name)
                assert base == "debian:12-slim", f"stage {name}: no tree is made from {base}"
                tree.debootstrap("bookworm")
            self._made[name] = tree
            self._follow(stage, tree)
        return self._made[name]

    def _follow(self, stage: Stage, tree: Tree) -> None:
        for one in stage.instructions:
            known = tree.environment | tree.arguments
            match one.name:
                case "ARG":
                    tree.arguments |= one.assignments(known)
                case "ENV":
                    tree.environment |= one.assignments(known)
                case "WORKDIR":
                    tree.folder = one.text
                    tree.path(".").mkdir(parents=True, exist_ok=True)
                case "USER":
                    tree.user = one.text
                case "COPY":
                    self._copy(one.words(known), tree)
                case "ADD":
                    tree.not_run.append(f"line {one.line}: ADD of an archive from elsewhere")
                case "RUN":
                    self._run(one.line, one.command(), tree)
                case _:
                    assert one.name in ("SHELL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"), f"line {one.line}: {one.name}"

    def _run(self, line: int, words: list[str], tree: Tree) -> None:
        archives = re.findall(r"/tmp/\S+\.tar\.gz", words[-1])
        if any(not tree.path(archive).exists() for archive in archives):
            tree.not_run.append(f"line {line}: RUN {words[-1]}, without its archive")
            return
        ran = tree.run(words, building=True)
        assert ran.returncode == 0, f"line {line}: {words[-1]}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"

    def _copy(self, words: list[str], tree: Tree) -> None:
        options = [word for word in words if word.startswith("--")]
        *names, target = [word for word in words if not word.startswith("--")]
        if options:
            (origin,) = (option.removeprefix("--from=") for option in options)
            (name,) = names
            source = self.stage(origin).path(name)
            subprocess.run(["cp", "-a", "--reflink=auto", f"{source}/.", self._folder_at(tree, target)], check=True)
            return
        for file in context():
            for name in names:
                folder = name.rstrip("/")
                if folder == "." or file.startswith(f"{folder}/"):
                    below = file if folder == "." else file.removeprefix(f"{folder}/")
                elif fnmatch.fnmatchcase(file, name):
                    below = Path(file).name
                else:
                    continue
                place = tree.path(target) / below
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, place)

    def _folder_at(self, tree: Tree, target: str) -> Path:
        place = tree.path(target)
        place.mkdir(parents=True, exist_ok=True)
        return place
