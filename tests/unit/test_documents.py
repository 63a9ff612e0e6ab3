# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the documents tell people to type exists, and agrees with the image, the program and the Makefile."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from context_chat_backend import __version__
from context_chat_backend.cli.app import app
from context_chat_backend.config import load
from context_chat_backend.settings.environment import VARIABLES
from tests.dockerfile import parse
from tests.unit.test_deploy import COMPOSE, OURS, SETS

ROOT = Path(__file__).resolve().parents[2]
OF_INSTALLING = ("README.md", "docs/install.md", "docs/tuning.md")
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
FILE = parse(ROOT / "Dockerfile")
OF_DOCKER_RUN = {
    "--detach", "--rm", "--name", "--hostname", "--restart", "--network", "--env", "--env-file", "--publish",
    "--volume", "--shm-size", "--add-host", "--gpus", "--user", "--device", "--group-add", "--privileged",
}  # fmt: skip
WITHOUT_VALUE = {"--detach", "--rm", "--privileged"}


def fences(page: Path, language: str) -> list[str]:
    """What stands between the marks of that language, in a list of pieces as they follow each other."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for told, text in found if told == language]


def commands() -> Iterator[list[str]]:
    """Every command of the pages on installing, comments left out."""
    for name in OF_INSTALLING:
        for text in fences(ROOT / name, "sh"):
            for line in text.replace("\\\n", " ").splitlines():
                for part in re.split(r" && | \| ", re.sub(r"(^|\s)#\s.*", "", line)):
                    if part.strip() and "<" not in part and "…" not in part:
                        yield shlex.split(part)


def docker(kind: str) -> list[list[str]]:
    return [words[2:] for words in commands() if words[:2] == ["docker", kind]]


def options(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values, and what follows them."""
    found, rest = [], list(words)
    while rest and rest[0].startswith("--"):
        name, equals, value = rest.pop(0).partition("=")
        found.append((name, value if equals or name in WITHOUT_VALUE else rest.pop(0)))
    return found, rest


def our_containers() -> Iterator[tuple[list[tuple[str, str]], str, list[str]]]:
    """Options, image and arguments of each `docker run` of this program."""
    for words in docker("run"):
        given, (image, *arguments) = options(words)
        if "context_chat_backend" in image:
            yield given, image, arguments


@pytest.mark.parametrize("name", OF_INSTALLING)
def test_shells_can_read_what_is_to_be_typed(name: str) -> None:
    for text in fences(ROOT / name, "sh"):
        checked = subprocess.run(["bash", "-n"], input=re.sub(r"<([^>]+)>", "X", text), capture_output=True, text=True)
        assert checked.returncode == 0, (text, checked.stderr)


def test_containers_are_started_with_options_docker_has_and_images_that_were_built() -> None:
    built = {value for words in docker("build") for name, value in options(words)[0] if name == "--tag"}
    assert len(list(our_containers())) >= 6
    for given, image, _ in our_containers():
        assert {name for name, _ in given} <= OF_DOCKER_RUN
        assert image in built | {f"{OURS}:{__version__}"}


def test_containers_keep_what_the_image_keeps_and_publish_what_it_serves() -> None:
    environment = {
        name: value
        for stage in FILE.way_to("image" if "image" in FILE.arguments else "cpu")
        for one in stage.instructions
        if one.name == "ENV"
        for name, value in one.assignments({}).items()
    }
    storage = environment["APP_PERSISTENT_STORAGE"]
    assert storage == "/app/persistent_storage"
    for given, image, _ in our_containers():
        mounted = [value.split(":")[1] for name, value in given if name == "--volume"]
        told = dict(value.split("=", 1) for name, value in given if name == "--env")
        assert mounted[0] == told.get("APP_PERSISTENT_STORAGE", storage)
        assert set(mounted[1:]) <= {f"{storage}/config.yaml"}
        assert set(told) <= {*VARIABLES, "CUDA_VISIBLE_DEVICES"}, image
        for name, value in given:
            if name == "--publish":
                assert value.rpartition(":")[2] == "10034"
                assert told["APP_HOST"] == "0.0.0.0"
            if name == "--add-host":
                assert value == "host.docker.internal:host-gateway"
        if any(name == "--gpus" for name, _ in given):
            assert image.endswith(":cuda")


def test_every_way_to_start_a_container_is_shown() -> None:
    """Volume, configuration, variables from a file, the host's name, GPUs: in the README and beside it."""
    for page in (ROOT / "README.md", ROOT / "docs" / "install.md"):
        text = page.read_text(encoding="utf-8")
        for shown in ("--volume ccb:/app/persistent_storage", "config.yaml:/app/persistent_storage/config.yaml:ro",
                      "--env-file .env", "--add-host=host.docker.internal:host-gateway", "--gpus=all"):  # fmt: skip
            assert shown in text, (page.name, shown)


def test_arguments_of_builds_are_those_of_the_dockerfile() -> None:
    known = {
        *FILE.arguments,
        *(name for stage in FILE.stages.values() for one in stage.instructions if one.name == "ARG"
          for name in one.assignments({})),
    }  # fmt: skip
    for words in docker("build"):
        for name, value in options(words[:-1])[0]:
            if name == "--build-arg":
                argument, _, chosen = value.partition("=")
                assert argument in known
                assert argument != "DEVICE" or chosen in FILE.stages


OF_OCC = {
    "app_api:daemon:register": {
        "--net", "--haproxy_password", "--compute_device", "--set-default", "--harp", "--harp_frp_address",
        "--harp_shared_key", "--harp_docker_socket_port", "--harp_exapp_direct",
    },
    "app_api:app:register": {"--wait-finish", "--json-info", "--env"},
    "app_api:app:update": {"--wait-finish"},
    "app_api:app:list": set(),
    "app_api:daemon:list": set(),
    "app:enable": set(),
    "app:install": set(),
}  # fmt: skip


def test_commands_of_nextcloud_have_the_options_they_know_and_variables_that_are_declared() -> None:
    declared = (ROOT / "appinfo" / "info.xml").read_text(encoding="utf-8")
    called = [words[1:] for words in commands() if words[0] == "occ"]
    assert {command for command, *_ in called} <= set(OF_OCC)
    for command, *words in called:
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= OF_OCC[command], words
        if command == "app_api:daemon:register":
            assert [word for word in words if word in ("docker-install", "manual-install")], words
            assert "--net" in words
        if "--env" in words:
            assert f"<name>{words[words.index('--env') + 1].partition('=')[0]}</name>" in declared


def docker_exec(words: list[str]) -> bool:
    return words[:2] == ["docker", "exec"]


def test_commands_of_the_program_exist() -> None:
    names = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    called = set()
    for words in commands():
        typed = words[words.index("--") + 1 :] if "--" in words else words[3:] if docker_exec(words) else words
        if typed[0] in ("./main.py", ".venv/bin/python", "context-chat"):
            called.update([word for word in typed[1:] if word != "main.py"][:1])
    called |= {arguments[0] for _, _, arguments in our_containers() if arguments}
    assert called >= {"doctor", "register", "repair"}
    assert called <= names


def test_files_and_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands():
        for word in words:
            if re.match(r"(deploy|dockerfile_scripts)/", word):
                assert (ROOT / word).exists(), word
        if words[0] == "make":
            assert set(words[1:]) <= targets
        if words[0].startswith("dockerfile_scripts/"):
            assert (ROOT / words[0]).stat().st_mode & 0o111


def test_compose_files_are_combined_as_they_were_tried() -> None:
    combined = set()
    for words in commands():
        if words[:2] == ["docker", "compose"]:
            given, _ = options(words[2:-2])
            combined.add(tuple(value.removesuffix(".yaml") for _, value in given) or ("compose",))
    assert combined >= {("compose",), ("compose", "llama")}
    assert combined <= set(SETS)
    assert all((COMPOSE / f"{name}.yaml").is_file() for names in SETS for name in names)


def test_configurations_of_the_page_on_tuning_are_read_without_a_warning(tmp_path: Path) -> None:
    texts = fences(ROOT / "docs" / "tuning.md", "yaml")
    assert len(texts) == 3
    for text in texts:
        assert yaml.safe_load(text)
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        assert load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=4).warnings == ()


def test_what_is_reckoned_on_the_page_on_tuning_is_reckoned_right() -> None:
    lines = [
        line
        for text in fences(ROOT / "docs" / "tuning.md", "")
        for line in text.splitlines()
        if re.match(r"[\d(]", line)
    ]
    assert len(lines) > 15
    for line in lines:
        left, _, right = line.partition(" = ")
        terms = re.sub(r"[^\d.+*/() ]", "", left.replace("×", "*"))
        assert re.fullmatch(r"[\d.+*/() ]+", terms)
        (said,) = re.findall(r"^[\d.]+", right)
        digits = len(said.partition(".")[2])
        assert round(eval(terms), digits) == pytest.approx(float(said), abs=0.51 * 10**-digits), line


def anchors(page: Path) -> set[str]:
    """As forges make them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            led = (page.parent / name).resolve() if name else page
            if not led.exists() or (anchor and led.suffix == ".md" and anchor not in anchors(led)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
