#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# The command `context-chat` of an image or of a machine: linked to from /usr/local/bin, it finds the program it belongs to.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
exec .venv/bin/python main.py "$@"
