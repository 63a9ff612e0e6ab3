#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# supply.sh sbom: write sbom.json, a bill of materials of requirements.txt (CycloneDX).
# supply.sh audit: ask the advisory database of PyPI about requirements.txt; needs a network. It fails where something is
# known, and where a package could not be asked about.
# Both tools live in an environment of their own, so that nothing of theirs comes into the program's.
set -eu
cd "$(dirname "$0")/.."
tools=.tools

if [ ! -x "$tools/bin/pip-audit" ] || [ ! -x "$tools/bin/cyclonedx-py" ]; then
    .venv/bin/python -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1
fi

case ${1:-} in
    sbom)
        "$tools/bin/cyclonedx-py" requirements --pyproject pyproject.toml --mc-type application \
            --output-reproducible --of JSON -o sbom.json requirements.txt
        echo "sbom.json: $(grep -c '"bom-ref": "requirements' sbom.json) packages"
        ;;
    audit) "$tools/bin/pip-audit" --strict --no-deps --disable-pip -r requirements.txt ;;
    *)
        echo "expected: supply.sh sbom, or supply.sh audit" >&2
        exit 2
        ;;
esac
