#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Take the FRP client out of an archive of its release:  get_frpc.sh archive sha256 folder
# Nothing is unpacked that is not what the checksum says.
set -eu

archive=$1 sha256=$2 folder=$3
if [ -z "$sha256" ]; then
    echo "The SHA-256 of $(basename "$archive") is not given: --build-arg FRP_SHA256=… ('docs/operations.md', The image)" >&2
    exit 1
fi
if ! echo "$sha256  $archive" | sha256sum --check --status --strict; then
    echo "$(basename "$archive") is not what its SHA-256 ($sha256) says, or that is none: nothing is installed" >&2
    exit 1
fi
tar -xzf "$archive" -C "$folder" --strip-components=1 --wildcards '*/frpc'
