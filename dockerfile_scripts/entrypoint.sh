#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Start the program, inside a container or outside, with the arguments of main.py; behind HaRP (HP_SHARED_KEY) the FRP
# client beside it. A container that was started as root hands its storage to $RUN_AS and goes on as that user.
set -eu
cd "$(dirname "$0")/.."
storage=${APP_PERSISTENT_STORAGE:-persistent_storage}

if [ "$(id -u)" = 0 ] && [ -n "${RUN_AS:-}" ]; then
    mkdir -p "$storage"
    # Not config.yaml: it may be a file of the host, and being read is enough for it.
    find "$storage" -xdev ! -user "$RUN_AS" ! -path "$storage/config.yaml" -exec chown -h "$RUN_AS:$RUN_AS" {} +
    exec setpriv --reuid "$RUN_AS" --regid "$RUN_AS" --init-groups \
        env HOME="$(getent passwd "$RUN_AS" | cut -d: -f6)" dockerfile_scripts/entrypoint.sh "$@"
fi

mkdir -p "$storage" 2> /dev/null || true
if ! [ -w "$storage" ] || ! [ -x "$storage" ]; then
    if [ -n "${RUN_AS:-}" ]; then
        cure="start the container once with '--user 0', which hands the volume over; the program itself never runs as root"
    else
        cure="run 'chown -R $(id -un) \"$storage\"' as root, or name another folder in APP_PERSISTENT_STORAGE"
    fi
    echo "Cannot start: $(id -un) (uid $(id -u)) may not write to $storage," \
        "or it is mounted read-only or does not exist. If it belongs to another user: $cure." >&2
    exit 3
fi

if [ -n "${HP_SHARED_KEY:-}" ]; then
    dockerfile_scripts/frpc.sh check
    dockerfile_scripts/frpc.sh run &
fi

exec .venv/bin/python main.py "$@"
