# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands of the documents are typed as they stand there, one after the other, on a small installation.

Each of them is either run here or named with the reason why not; a command that is new or gone in the pages is found.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.store import embedded_place
from tests import old_cluster, old_index
from tests.integration.test_carry_over import earlier_index
from tests.ports import free_port
from tests.program import headers
from tests.unit.test_documents import ROOT
from tests.waiting import until

PAGES = ("README.md", "SECURITY.md", *(f"docs/{name}.md" for name in (
    "install", "operations", "upgrade", "troubleshooting", "indexing", "http-api", "models", "nextcloud", "tuning",
    "quality", "performance", "privacy", "configuration", "surfaces", "planner", "chat-server",
    "reliability")))  # fmt: skip
OURS = re.compile(r"(?:context-chat|\./main\.py|\.venv/bin/python main\.py)(?: |$)")
TYPED = re.compile(r"`((?:context-chat|make|curl|\./main\.py) [^`]+)`")
SECRET = "a-secret-of-the-documents"

MADE_FOR_MACHINES = (
    "it changes the whole machine; tests/acceptance/test_image.py runs these scripts in a tree of their own"
)
ELSEWHERE = "it is for another machine or another program; tests/unit/test_documents.py looks at its options"
NETWORK = "it fetches from the network"
NOTATION = "it stands for several commands, which are run in full elsewhere on the pages or in tests of their own"
MINUTES = "it takes minutes; tests/acceptance/test_xquad.py and tests/integration/test_evaluate.py do the same"
WHOLE = "it runs or installs all of this"
WALK = "a walk over a surface: test_surfaces.py, test_chat_server.py and test_planner_api.py run them"
LEFT_OUT: Mapping[str, str] = {
    r"(sudo|su|occ|docker|kubectl|systemctl|journalctl|useradd|install|vi|ln|sed|export|\.|cd) ": ELSEWHERE,
    r"cp deploy/|Environment|git clone": ELSEWHERE,
    r"dockerfile_scripts/": MADE_FOR_MACHINES,
    r"pip install|context-chat models fetch": NETWORK,
    r"make (run|test|test-all|check|bench|trust|lock)( SEEDS=\d+)?$": WHOLE,
    r"(KEY=\$\(|ID=\$\()?curl .*\$(GATEWAY|CHAT|OPENAI|PLANNER|CHATQNA)/": WALK,
    r"certbot ": NETWORK,
    r"#!/bin/sh$": ELSEWHERE,
    r"\./start\.sh ": "it names the folders of another machine; tests/integration/test_chat_serving.py runs the script",
    r"context-chat serve$": "it serves until it is stopped, as ./main.py does",
    r"context-chat planner smoke": "it asks a planner with a user's token: tests/integration/test_planner_api.py",
    r"context-chat evaluate (xquad|scifact|FOLDER)": MINUTES,
    r"context-chat .*(…|\.\.\.|NAME|SOURCE|FOLDER|<)": NOTATION,
    r"context-chat (retry|evaluate|kept|conversations (export|delete)|keys add|collection import-chroma)$": NOTATION,
    r"curl .*(<host>|:8888)": ELSEWHERE,
    r"context-chat status --watch$": "it needs a terminal: tests/acceptance/test_seeing.py",
    r"psql |ALTER |CREATE ": ELSEWHERE,
}


def documented() -> dict[str, str]:
    """Each command of the pages as it stands there, without its comment; with the page it was seen on first."""
    found: dict[str, str] = {}
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        lines: list[str] = []
        for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            whole = [re.sub(r"(^|\s)#\s.*", "", line).strip() for line in joined(body).splitlines()]
            lines += (
                whole if kind == "sh" else [line for line in whole if OURS.match(line) or line.startswith("pg_dump")]
            )
        outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for line in [*lines, *TYPED.findall(outside)]:
            if line:
                found.setdefault(line, name)
    return found


def joined(text: str) -> str:
    """With commands of several lines in one."""
    return re.sub(r"\n(?=  -d |  \"|\}')", " ", text.replace("\\\n", " "))


@dataclass
class Installation:
    """A folder as somebody has it who followed the pages."""

    folder: Path
    replaced: dict[str, str] = field(default_factory=dict)
    """What stands for places of other machines in the pages, and what it is here."""
    ran: set[str] = field(default_factory=set)
    wrong: list[tuple[str, int, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("main.py", "example.env", "Makefile", "dockerfile_scripts"):
            (self.folder / name).symlink_to(ROOT / name)
        programs = self.folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, does in (("python", ""), ("python3", ""), ("context-chat", f"{ROOT / 'main.py'} ")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {does}"$@"\n')
            (programs / name).chmod(0o755)
        for port in (10034, 5000):
            self.replaced[f"127.0.0.1:{port}"] = f"127.0.0.1:{free_port()}"
        (self.folder / "home").mkdir()
        (self.folder / "backups").mkdir()
        self.replaced["/backups/"] = f"{self.folder / 'backups'}/"
        self.replaced["make register"] = "make -o core register"  # what it needs is there

    @property
    def storage(self) -> Path:
        return self.folder / "persistent_storage"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder / '.venv' / 'bin'}:{embedded_place.binaries_of(old_cluster.EARLIER)}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder / "home"), "APP_SECRET": SECRET}

    def port(self, documented: int) -> int:
        return int(self.replaced[f"127.0.0.1:{documented}"].rpartition(":")[2])

    def here(self, command: str) -> str:
        """The command as it stands in the pages, with the places of this installation."""
        assert command in documented(), f"no page has this command: {command}"
        self.ran.add(command)
        for there, here in self.replaced.items():
            command = command.replace(there, here)
        return command

    def type(self, command: str, says: str = "", *, code: int = 0) -> str:
        """Type a command of the pages; what it prints, which should hold `says`."""
        done = subprocess.run(
            ["bash", "-ec", self.here(command)],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode != code or says not in done.stdout:
            self.wrong.append((command, done.returncode, done.stdout[-1000:], done.stderr[-1000:]))
        return done.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[httpx.Client]:
        """The program that a command of the pages starts."""
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-ec", f"exec {self.here(command)}"],
                cwd=self.folder, env=self.environment, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port(10034)}", headers=headers(SECRET)) as client:
                until(lambda: process.poll() is not None or is_ready(client))
                assert process.poll() is None, (self.folder / "output.log").read_text()
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def configure(one: Installation) -> None:
    """What the comments beside `cp example.env .env` and the sections on config.yaml say."""
    one.type("cp example.env .env")
    text = (one.folder / ".env").read_text().replace("APP_PORT=10034", f"APP_PORT={one.port(10034)}")
    (one.folder / ".env").write_text(text.replace("NEXTCLOUD_URL=", "NEXTCLOUD_URL=http://127.0.0.1:9"))
    one.storage.mkdir()
    (one.storage / "config.yaml").write_text(
        f"embedding:\n  hashing:\nllm:\n  extractive:\nlisteners:\n  - port: {one.port(5000)}\n    surfaces: [openai]\n"
    )


def write_documents(home: Path) -> None:
    for name, text in (
        ("Documents/lease.txt", "The lease of the workshop ends in May 2031."),
        ("Documents/Projects/plan.txt", "The bridge is painted in autumn."),
        ("Town/pool.txt", "The pool opens at seven in the morning."),
        ("my-documents/lease.txt", "The lease of the barn ends in June."),
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    asked = {"question": "When does the lease end?", "relevant": ["lease.txt"]}
    (home / "my-documents" / "questions.jsonl").write_text(json.dumps(asked) + "\n")


@pytest.fixture
def one(storage: Path) -> Installation:
    return Installation(storage)


@pytest.mark.slow
def test_the_commands_of_the_pages_do_what_stands_beside_them(one: Installation) -> None:
    configure(one)
    write_documents(one.folder / "home")
    with one.serving("./main.py") as client:
        use(one)
        manage(one, client)
    take_over(one, asyncio.run(old_sources()))
    back_up_and_restore(one)
    upgrade(one)

    assert not one.wrong, "\n".join(map(str, one.wrong))
    not_named = [
        f"{page}: {command}"
        for command, page in documented().items()
        if command not in one.ran and not any(re.match(pattern, command) for pattern in LEFT_OUT)
    ]
    assert not_named == []


def use(one: Installation) -> None:
    one.type("curl --fail http://127.0.0.1:10034/heartbeat")
    one.type(".venv/bin/python main.py index ~/Documents --user me", "indexed 2")
    one.type('.venv/bin/python main.py ask --user me "When does the lease end?"', "May 2031")
    assert json.loads(one.type('.venv/bin/python main.py search --user me "lease" --json'))
    one.type(".venv/bin/python main.py status", "indexed 2")
    one.type("make register", "occ app_api:app:register")
    one.type(".venv/bin/python main.py index ~/Town --collection town --reader alice")
    key = re.search(r"api_\w+", one.type('.venv/bin/python main.py keys add "town site" --collection town'))
    assert key is not None
    one.replaced["api_…"] = key[0]
    (asks,) = [command for command in documented() if command.startswith("curl http://127.0.0.1:5000")]
    one.type(asks, "seven")


def manage(one: Installation, client: httpx.Client) -> None:
    """While it serves."""
    for command, code in ((".venv/bin/python main.py doctor", 1), ("context-chat doctor", 1)):
        assert "Nextcloud" in one.type(command, code=code)  # which is not there
    assert json.loads(one.type("context-chat doctor --json", code=1))
    one.type("context-chat status", "indexed 3")
    assert json.loads(one.type("context-chat status --json"))["states"]["indexed"] == 3
    one.replaced |= {"part of its title": "lease", "files/Projects/plan.pdf": "plan.txt"}
    one.type('context-chat status "part of its title"', "lease.txt")
    one.type('context-chat status "files/Projects/plan.pdf"', "plan.txt")
    one.type('context-chat retry --reason "its parser took too long"', code=1)  # there is none
    one.type('context-chat retry "files__default: 42"', code=1)
    one.type("context-chat reindex --provider mail__mail", code=1)
    one.type("context-chat kept --user alice", "Nothing is kept.")  # of Nextcloud
    one.type("context-chat kept --user alice --realm local", "rows of ", code=1)
    one.type('context-chat kept --text "a sentence of his file"', "Nothing is kept.")
    one.type("context-chat indexes drop")
    one.type("context-chat indexes build")
    one.type("context-chat models list")
    one.type("context-chat collections add code")
    one.type("context-chat keys add editor --collection code --scope completion --scope chat --scope embedding")
    one.type("context-chat planner sample-data")
    one.type("make help")
    one.type("context-chat evaluate ~/my-documents -c hybrid -c hybrid+tokens:120:12", "hybrid")
    if shutil.which("jq"):
        for command in [command for command in documented() if command.startswith("jq ")]:
            one.type(command)
    client.put("/enabled?enabled=1").raise_for_status()
    (asks,) = [command for command in documented() if command.startswith("curl -X POST http://127.0.0.1:10034/query")]
    assert "output" in json.loads(one.type(asks))


async def old_sources() -> list[old_index.Old]:
    return await old_index.embedded(old_index.at_random(20, 3), HashingEmbedder())


def take_over(one: Installation, sources: list[old_index.Old]) -> None:
    """An old index in our own database, elsewhere, in a dump, and on the old volume."""
    with one.serving("./main.py"):
        password = (one.storage / "postgres.program").read_text()
        ours = f"postgresql://ccb:{password}@/context_chat?host={one.storage / 'postgres.socket'}"
        old_index.write(ours, sources[:10])
        one.type("context-chat status", "an old index lies in the database")
        one.type("context-chat import-reference", "Verified")
        one.type("context-chat import-reference --drop", "The old tables are dropped")

        data = one.storage / "vector_db_data" / "pgsql"
        asyncio.run(elsewhere(one, data, sources))
        one.type("context-chat import-reference old.dump", "Verified")
        one.replaced["/usr/lib/postgresql/17/bin"] = str(embedded_place.binaries_of(old_cluster.EARLIER))
        one.type("context-chat import-reference --postgres /usr/lib/postgresql/17/bin", "Verified")


async def elsewhere(one: Installation, data: Path, sources: list[old_index.Old]) -> None:
    old_cluster.make_cluster(data)
    async with old_cluster.running(data, "ccb") as url:
        old_index.write(url, sources)
        one.replaced |= {"$CCB_DB_URL": url, "postgresql://user:password@host/database": url}
        one.type('pg_dump -Fc -f old.dump "$CCB_DB_URL"')
        command = "context-chat import-reference postgresql://user:password@host/database"
        await asyncio.to_thread(one.type, command, "Verified")


def back_up_and_restore(one: Installation) -> None:
    with one.serving("./main.py"):
        one.type("context-chat backup /backups/2026-11-21.backup")
        one.type("context-chat backup --without-vectors /backups/small.backup")
    begin_anew(one)
    one.type("context-chat restore /backups/2026-11-21.backup", "Restored")
    one.type('.venv/bin/python main.py ask --user me "When does the lease end?"', "May 2031")


def upgrade(one: Installation) -> None:
    begin_anew(one)
    asyncio.run(earlier_index(one.storage))
    one.type("context-chat repair")
    one.type("context-chat upgrade-database", "Carried over: ")


def begin_anew(one: Installation) -> None:
    """As if the volume were lost, and `config.yaml` kept."""
    configuration = (one.storage / "config.yaml").read_text()
    shutil.rmtree(one.storage)
    one.storage.mkdir()
    (one.storage / "config.yaml").write_text(configuration)
