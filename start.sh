#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Start the chat server (docs/surfaces.md). Options win over config.yaml.
set -eu

usage() {
    echo "usage: start.sh [--host=ADDRESS] [--port=PORT] [--workers=NUMBER] [--reload] [--config=FILE]" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/.venv/bin/python}
[ -x "$python" ] || python=python3
reload=no
count=$#
while [ "$count" -gt 0 ]; do
    case $1 in
        --host=?* | --port=?* | --workers=?* | --config=?*) set -- "$@" "$1" ;;
        --reload) reload=yes ;;
        *) usage ;;
    esac
    shift
    count=$((count - 1))
done
if [ "$reload" = no ]; then
    exec "$python" "$here/main.py" serve "$@"
fi

# Start anew whenever a source file changes: for those who work on them.
stamp() { find "$here/context_chat_backend" -name '*.py' -newer "$1" -print -quit; }
mark=$(mktemp)
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -f "$mark"; exit 0' INT TERM
while :; do
    touch "$mark"
    "$python" "$here/main.py" serve "$@" &
    server=$!
    while kill -0 "$server" 2>/dev/null && [ -z "$(stamp "$mark")" ]; do sleep 1; done
    kill "$server" 2>/dev/null || true
    wait "$server" || true
    sleep 1
done
