# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of the house (docs/ARCHITECTURE.md), read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import context_chat_backend

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "context_chat_backend"
GROUND, ADAPTERS, USE_CASES, WIRING, ENTRY = range(5)
FLOORS = {
    "domain": GROUND, "errors": GROUND, "ports": GROUND, "config": GROUND, "settings": GROUND,
    "hardware": GROUND, "logs": GROUND, "language": GROUND, "sentences": GROUND, "words": GROUND,
    "compounds": GROUND, "exclusions": GROUND, "terms": GROUND,
    "upgrade": GROUND, "health": GROUND, "metrics": GROUND, "steps": GROUND, "traces": GROUND,
    "audit": GROUND, "limits": GROUND, "bounded_answers": GROUND, "token_estimates": GROUND,
    "rotation": GROUND, "chat_log": GROUND, "shipping": ADAPTERS,
    "store": ADAPTERS, "inference": ADAPTERS, "parsing": ADAPTERS, "nextcloud": ADAPTERS, "web_tokens": ADAPTERS,
    "spaces": USE_CASES, "indexing": USE_CASES, "retrieval": USE_CASES, "answering": USE_CASES,
    "completing": USE_CASES,
    "wiring": WIRING,
    "evaluation": ENTRY, "exapp": ENTRY, "web": ENTRY, "cli": ENTRY,
}  # fmt: skip


@cache
def modules() -> list[tuple[str, str, ast.Module]]:
    """Path below the package, room, and tree of every module."""
    names = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    return [
        (str(name), name.parts[0].removesuffix(".py"), ast.parse((PACKAGE / name).read_text(encoding="utf-8")))
        for name in names
    ]


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(tree: ast.Module) -> set[str]:
    """The rooms of the package a module imports from."""
    found = {name.split(".")[1] for name in imported(tree) if name.startswith("context_chat_backend.")}
    return found & set(FLOORS)


def test_every_room_has_its_floor() -> None:
    assert {room for name, room, _ in modules() if name != "__init__.py"} <= set(FLOORS)


def test_imports_point_down_only() -> None:
    upward = [
        f"{name} imports {other}"
        for name, room, tree in modules()
        for other in rooms(tree) - {room}
        if name != "__init__.py" and FLOORS[other] > FLOORS[room]
    ]
    assert upward == []


def test_nothing_below_knows_the_planner() -> None:
    """A room of its own: it may be left out."""
    knowing = [
        name
        for name, room, tree in modules()
        for module in imported(tree)
        if module.startswith("context_chat_backend.answering.planner")
        and not name.startswith("answering/planner/")
        and FLOORS[room] < WIRING
    ]
    assert knowing == []


def test_adapters_do_not_know_each_other() -> None:
    sideways = [
        f"{name} imports {other}"
        for name, room, tree in modules()
        for other in rooms(tree) - {room}
        if FLOORS.get(room) == ADAPTERS and FLOORS[other] == ADAPTERS
    ]
    assert sideways == []


def test_only_wiring_constructs_adapters() -> None:
    """Use cases and entry points name types and functions of the store; they do not make a Database."""
    makers = (
        "Database(",
        "EmbeddedPostgres(",
        "Sandbox(",
        "build_embedder(",
        "build_language_model(",
        "build_reranker(",
    )
    outside = [
        f"{path.relative_to(PACKAGE)} calls {maker})"
        for path in PACKAGE.rglob("*.py")
        for maker in makers
        if re.search(rf"(?<!class )(?<!def )\b{re.escape(maker)}", path.read_text(encoding="utf-8"))
        and path.parent.name != "wiring"
    ]
    assert outside == []


def test_only_the_store_knows_the_driver_and_speaks_sql() -> None:
    foreign = [
        f"{name} imports {module}"
        for name, room, tree in modules()
        for module in imported(tree)
        if module.split(".")[0] in ("psycopg", "psycopg_pool", "pgvector") and room != "store"
    ]
    sql = re.compile(r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b")
    foreign += [
        f"{path.relative_to(PACKAGE)} holds SQL"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "store" and sql.search(path.read_text(encoding="utf-8"))
    ]
    assert foreign == []


def test_one_module_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text(encoding="utf-8")) and path.name != "environment.py"
    ]
    assert readers == []


def test_no_vendor_of_models_is_known_outside_inference() -> None:
    vendors = (
        "langchain",
        "openai",
        "onnxruntime",
        "onnx",
        "tokenizers",
        "transformers",
        "sentence_transformers",
        "torch",
        "llama_cpp",
    )
    outside = [
        f"{name} imports {module}"
        for name, room, tree in modules()
        for module in imported(tree)
        if module.split(".")[0].startswith(vendors) and room != "inference"
    ]
    assert outside == []


def test_text_leaves_the_store_only_for_a_named_reader() -> None:
    """Statements that return readable text are in two files, and what sends them asks for the asker."""
    doors = {"search": "reading_as(question.asker)", "neighbours": "reading_as(asker)"}
    for path in (PACKAGE / "store" / "sql").glob("*.sql"):
        returning = re.search(r"SELECT(?:(?!FROM|;).)*chunk_text\.text", path.read_text(encoding="utf-8"), re.DOTALL)
        assert (returning is not None) == (path.stem in doors) or path.name in ("chunks.sql", "ledger.sql", "words.sql")
    for door, opened in doors.items():
        callers = [
            str(path.relative_to(PACKAGE))
            for path in PACKAGE.rglob("*.py")
            if re.search(
                rf'statement\("{door}", "(?!create|load|drop|within|may|note)', path.read_text(encoding="utf-8")
            )
        ]
        assert callers == [f"store/{door}.py"]
        assert opened in (PACKAGE / "store" / f"{door}.py").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:  # an archive without its history
        return [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_source_file_carries_its_licence() -> None:
    kinds = {".py", ".sh", ".sql", ".yaml", ".yml", ".toml", ".xml", ".env", ".md"}
    without = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if (path.suffix in kinds or path.name in ("Makefile", "Dockerfile"))
        and not {ROOT / "tests" / "data", ROOT / "samples" / "documents"} & {*path.parents}  # what is indexed
        and "SPDX-License-Identifier: AGPL-3.0-or-later" not in path.read_text(encoding="utf-8")[:300]
    ]
    assert without == []


def test_the_locks_name_no_host_and_no_torch() -> None:
    for name in ("requirements.lock", "requirements.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|--(extra-)?index|--find-links|^torch|^nvidia|^sentence", text, re.MULTILINE)
        assert all(re.match(r"#|[\w.\[\]-]+==", line) for line in text.splitlines() if line.strip())


def test_the_version_is_the_same_everywhere() -> None:
    version = context_chat_backend.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == version
    assert f"<version>{version}</version>" in (ROOT / "appinfo" / "info.xml").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_and_readers_run_the_same_command() -> None:
    for file in (".ci/run", "README.md"):
        assert "make test" in (ROOT / file).read_text(encoding="utf-8")
