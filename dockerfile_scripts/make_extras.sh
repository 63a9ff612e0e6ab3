#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Add the back-ends of the extras `llama` and `transformers` to .venv, for their tests. llama-cpp-python is built from
# its source, which takes a compiler and some minutes; what cannot be had is said, and its tests are skipped by name.
set -eu
cd "$(dirname "$0")/.."

# add MODULE PACKAGE...
add() {
    module=$1
    shift
    if .venv/bin/python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$module') is None)"; then
        return
    fi
    echo "Installing $* …"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock "$@" \
        || echo "Not installed: $*. Its tests are skipped."
}

add sentence_transformers sentence-transformers==6.2.0 'torch==2.13.*'
if command -v c++ >/dev/null; then
    # with its server, a real one of the OpenAI kind for tests
    add starlette_context 'llama-cpp-python[server]==0.3.36'
else
    echo "Not installed: llama-cpp-python, which needs a compiler (apt install g++). Its tests are skipped."
fi
