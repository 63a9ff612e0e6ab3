# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Dockerfile keeps the rules linters of Dockerfiles have, and is what the documents say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.dockerfile import Dockerfile, Instruction, instructions, parse
from tests.tree import context, ignored, mirror

ROOT = Path(__file__).resolve().parents[2]
FILE = parse(ROOT / "Dockerfile")
ALL = list(instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")))
DEVICES = ("cpu", "cuda", "rocm")


def commands() -> list[Instruction]:
    return [one for one in ALL if one.name == "RUN"]


def of_image(device: str) -> list[Instruction]:
    """All instructions the image for this device consists of, in their order."""
    chosen = Dockerfile(FILE.arguments | {"DEVICE": device}, FILE.stages)
    return [one for stage in chosen.way_to("image") for one in stage.instructions]


@pytest.mark.parametrize("device", DEVICES)
def test_each_device_has_an_image_that_is_not_root_and_starts_under_an_init(device: str) -> None:
    last = {one.name: one.text for one in of_image(device)}

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])  # a number: Kubernetes checks runAsNonRoot by it
    assert last["ENTRYPOINT"] == '["tini", "--", "dockerfile_scripts/entrypoint.sh"]'
    assert last["EXPOSE"] == "10034"
    assert last["WORKDIR"] == "/app"
    assert "dockerfile_scripts/alive.py" in last["HEALTHCHECK"]


def test_the_cpu_is_what_is_built_without_arguments() -> None:
    assert FILE.arguments == {"DEVICE": "cpu"}
    assert FILE.stages["image"].base == "${DEVICE}"


def test_files_come_with_an_exact_base_and_no_tag_that_moves_by_itself() -> None:
    for stage in FILE.stages.values():
        if stage.base not in FILE.stages and stage.base != "${DEVICE}":
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", stage.base)
            assert not stage.base.endswith(":latest")


def test_what_is_copied_from_a_stage_comes_from_one_above() -> None:
    above: list[str] = []
    for stage in FILE.stages.values():
        for one in stage.instructions:
            for name in re.findall(r"--from=(\S+)", one.text):
                assert name in above
        above.append(stage.name)


def test_adding_is_for_archives_from_elsewhere_and_copying_for_files() -> None:
    assert all(one.text.startswith("https://") for one in ALL if one.name == "ADD")
    assert not [one for one in ALL if one.name == "MAINTAINER"]


def test_commands_leave_nothing_behind_and_ask_nothing() -> None:
    for one in commands():
        if "apt-get install" in one.text:
            assert "--no-install-recommends" in one.text
            assert " -y " in one.text
            assert "rm -rf /var/lib/apt/lists/*" in one.text
            assert "apt-get update" in one.text
        if re.search(r"\bpip3? (install|wheel)", one.text):
            assert "--no-cache-dir" in one.text
        assert not re.search(r"\bsudo\b|\bapt (install|update)|\bcd \S+ &&|(curl|wget)\b[^|]*\|", one.text), one.line


def test_the_shell_stops_at_an_error_also_in_a_pipeline_less_command() -> None:
    assert FILE.stages["system"].instructions[0] == Instruction(
        FILE.stages["system"].instructions[0].line, "SHELL", '["/bin/sh", "-eu", "-c"]'
    )
    assert not [one.line for one in commands() if re.search(r"[^|]\|[^|]", one.text)]


def test_scripts_it_runs_exist_and_are_executable() -> None:
    for one in [*commands(), *(one for one in ALL if one.name == "ENTRYPOINT")]:
        for script in re.findall(r"dockerfile_scripts/[\w/.-]+\.sh", one.text):
            assert (ROOT / script).stat().st_mode & 0o111, script


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def test_what_gpus_need_is_added_to_the_pins_of_the_program_and_changes_none() -> None:
    own, rocm, cuda = (pins(f"requirements{device}.txt") for device in ("", ".rocm", ".cuda"))

    assert not own.keys() & {*rocm, *cuda}, "make lock"
    assert "llama-cpp-python" in rocm
    assert not {"torch", "sentence-transformers"} & rocm.keys()
    assert cuda.keys() > rocm.keys() | {"torch", "sentence-transformers", "transformers"}
    assert all(cuda[name] == rocm[name] for name in rocm)


def test_nothing_secret_and_nothing_old_gets_into_an_image(tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    for name in (".env", ".git/config", ".venv/bin/python", "persistent_storage/config.yaml", "tests/fakes.py",
                 "context_chat_backend/__pycache__/a.pyc", "deploy/compose/.env"):  # fmt: skip
        assert ignored(name, patterns), name
    for name in ("main.py", "context_chat_backend/store/schema.sql", "requirements.txt", "samples/README.md",
                 "dockerfile_scripts/pgsql/setup.sh", "repairs/repair2001_date20240412153300.py"):  # fmt: skip
        assert not ignored(name, patterns), name
    assert "main.py" in context()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n", "http://mirror.example/debian"),
        ("# none\ndeb [signed-by=/a] https://one.example/debian/ bookworm main\n", "https://one.example/debian/"),
        ("deb https://packages.example/apt tools main\n", None),
    ],
)
def test_the_mirror_of_a_tree_is_that_of_this_machine(tmp_path: Path, text: str, found: str | None) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "some.list").write_text(text)

    assert mirror(tmp_path) == found


SHELLCHECK = shutil.which("shellcheck", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}")


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed, and has no wheel for this machine")
def test_every_script_passes_shellcheck() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() or [
        str(path.relative_to(ROOT)) for path in ROOT.glob("dockerfile_scripts/**/*.sh")
    ]
    scripts = [name for name in names if name.endswith(".sh") or name == ".ci/run"]
    assert len(scripts) > 8

    checked = subprocess.run([str(SHELLCHECK), *scripts], cwd=ROOT, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout


def test_hadolint_finds_nothing() -> None:
    checked = subprocess.run([ROOT / ".venv/bin/hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)

    assert (checked.returncode, checked.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """A last user who is root, and a tag that moves."""
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nUSER root\n")
    checked = subprocess.run([ROOT / ".venv/bin/hadolint", tmp_path / "Dockerfile"], capture_output=True, text=True)

    assert {"DL3002", "DL3007"} <= set(re.findall(r"DL\d+", checked.stdout))


def test_unknown_sets_of_packages_are_refused_by_name() -> None:
    told = subprocess.run([ROOT / "dockerfile_scripts/install_deps.sh", "games"], capture_output=True, text=True)
    assert told.returncode == 2
    assert "games" in told.stderr
