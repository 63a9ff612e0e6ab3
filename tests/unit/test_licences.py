# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the program is made of is pinned, has licences that go with ours, and is listed."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "dockerfile_scripts" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


licences = load()


def test_every_package_that_is_installed_has_a_licence_that_goes_with_ours() -> None:
    told = [licences.licence_of(package) for package in licences.installed()]

    assert len(told) > 60


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("MIT", set()),
        ("GPL-2.0-only", {"GPL-2.0-only"}),
        ("Apache-2.0 AND SSPL-1.0", {"SSPL-1.0"}),
        ("GPL-2.0-only OR MIT", set()),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", set()),
        ("MIT AND (Proprietary OR MIT)", {"Proprietary"}),
        ("Other/Proprietary License", {"Other", "Proprietary", "License"}),
    ],
)
def test_licences_that_do_not_go_with_ours_are_named(expression: str, unknown: set[str]) -> None:
    assert licences.unknown_in(expression) == unknown


@pytest.mark.skipif(sys.platform != "linux", reason="the page is made on Linux")
def test_the_page_lists_what_is_installed() -> None:
    """`make licences` writes it anew. What other versions of Python need beside it may be missing here."""
    rows = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \| (.+) \|$", licences.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: (version, licence) for name, version, licence in rows}
    there = {one.metadata["Name"]: (one.version, licences.licence_of(one)) for one in licences.installed()}

    assert {name: listed.get(name) for name in there} == there


def test_every_package_is_pinned_to_one_version() -> None:
    for name in ("requirements.txt", "requirements.lock"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        loose = [line for line in lines if not re.match(r"#|[\w.\[\]-]+==[\w.!+]+( ;|$)", line)]
        assert loose == []
        assert len(lines) > 60


def test_what_the_program_is_made_of_is_pinned_in_the_lock_of_the_tests_alike() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.partition(" ;")[0].strip() for line in lines if not line.startswith("#")}

    assert pins("requirements.txt") <= pins("requirements.lock")


def test_bill_and_audit_are_made_of_the_same_list() -> None:
    script = (ROOT / "dockerfile_scripts" / "supply.sh").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert script.count("requirements.txt") >= 4
    for target in ("sbom", "audit", "licences"):
        assert re.search(rf"^{target}: .*## ", makefile, re.MULTILINE)
    assert "sbom.json" in (ROOT / ".gitignore").read_text(encoding="utf-8")
