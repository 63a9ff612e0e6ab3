# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write docs/licences.md: every package of requirements.txt with its licence, by what is installed.

Run by `make licences`; tests/unit/test_licences.py compares the page with what is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
COMPATIBLE = frozenset({
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "LGPL-3.0-only", "MIT",
    "MIT-0", "MPL-2.0", "PSF-2.0", "Zlib",
})  # fmt: skip
"""Licences of parts that may be used in a program under AGPL-3.0, by their names in SPDX."""
_AS_SPDX = {
    "3-clause bsd license": "BSD-3-Clause", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "apache software license": "Apache-2.0", "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause", "isc license": "ISC", "isc license (iscl)": "ISC", "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "python software foundation license": "PSF-2.0",
}  # fmt: skip
_BY_HAND = {
    "locate": "MIT",  # its classifier says otherwise, the LICENSE it is shipped with decides
    "tiktoken": "MIT",  # the whole text stands where the name should
}
_HEAD = """<!-- SPDX-License-Identifier: AGPL-3.0-or-later -->
# Licences of what the program is made of

Made by `make licences` from what the packages of `requirements.txt` say of themselves; packages for other systems than
the one it was made on are left out. All may be part of a program under AGPL-3.0-or-later. A bill of materials for
machines is made by `make sbom`.

`regex` is derived from a module of Python itself and names that module's licence of 1.6 beside its own.

| package | version | licence |
|---|---|---|
"""


def required() -> list[str]:
    """The names in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [match[0] for line in lines if (match := re.match(r"[\w.-]+", line))]


def installed() -> Iterator[Distribution]:
    """Those of them that are installed on this system."""
    for name in required():
        try:
            yield distribution(name)
        except PackageNotFoundError:
            continue


def licence_of(package: Distribution) -> str:
    """Its licence as an expression of SPDX. Raises ValueError where that cannot be told."""
    name = package.metadata["Name"]
    if name in _BY_HAND:
        return _BY_HAND[name]
    said = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
    if not said:
        kinds = [one.rpartition(" :: ")[2] for one in package.metadata.get_all("Classifier", ()) if "License ::" in one]
        said = " OR ".join(_AS_SPDX.get(kind.lower(), kind) for kind in kinds)
    expression = _AS_SPDX.get(said.strip().lower(), said.strip())
    if not expression or unknown_in(expression):
        raise ValueError(f"{name}: its licence is {expression[:80]!r}, which is not known to go with AGPL-3.0")
    return expression


def unknown_in(expression: str) -> set[str]:
    """The licences of an expression that are not known to go with ours; of alternatives one suffices."""
    alternatives = [set(re.findall(r"[\w.-]+", part)) - {"AND"} for part in _alternatives(expression)]
    if any(part <= COMPATIBLE for part in alternatives):
        return set()
    return set().union(*alternatives) - COMPATIBLE


def _alternatives(expression: str) -> list[str]:
    if "(" in expression:  # A AND (B OR C): all of them are to be known
        return [expression.replace(" OR ", " AND ")]
    return expression.split(" OR ")


def page() -> str:
    """The whole page."""
    rows = sorted(
        ((one.metadata["Name"], one.version, licence_of(one)) for one in installed()), key=lambda r: r[0].lower()
    )
    return _HEAD + "".join(f"| {name} | {version} | {licence} |\n" for name, version, licence in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
