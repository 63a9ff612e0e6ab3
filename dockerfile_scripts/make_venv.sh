#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Make or update the virtual environment in .venv:  make_venv.sh requirements.txt
# Nothing happens when it is up to date. An interrupted installation is made whole by the next call.
set -eu

requirements=$1
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found. Debian 12, Ubuntu 24.04: apt install python3 python3-venv." \
        "Another one is named by PYTHON=/path/to/python3.12."
}

# The stamp holds what is installed: of two sets the larger one serves both.
digest=$(cksum < "$requirements")
stamp=".venv/.installed-$requirements"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
    exit 0
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free" -gt 1500000 ] || fail "The disk is full: 1.5 GB must be free here for the program's environment."
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null \
        || fail "This Python cannot make environments: apt install python3-venv (Debian, Ubuntu), then try again."
    echo "Making the environment with $("$python" --version) …"
    rm -rf .venv
    "$python" -m venv .venv
fi

echo "Installing $requirements …"
rm -f .venv/.installed-*
# Everything is listed, so nothing is resolved; see dockerfile_scripts/lock.sh for why that matters.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements" \
    || fail "The installation failed; the reason stands above. 'make' again goes on where it stopped."
printf '%s\n' "$digest" > "$stamp"
if [ "$requirements" = requirements.lock ]; then
    cksum < requirements.txt > .venv/.installed-requirements.txt
fi
