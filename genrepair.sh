#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Write the template of a repair step: APP_VERSION=5.5.0 ./genrepair.sh, or ./genrepair.sh 5.5.0
set -eu

APP_VERSION=${1:-${APP_VERSION:-}}
if [ -z "$APP_VERSION" ]; then
    echo "APP_VERSION is not set; for example: APP_VERSION=5.5.0 ./genrepair.sh" >&2
    exit 2
fi
case "$APP_VERSION" in
    *[!0-9.]* | *.*.*.* | .* | *..* | *.) valid=no ;;
    *.*.*) valid=yes ;;
    *) valid=no ;;
esac
if [ "$valid" = no ]; then
    echo "APP_VERSION is '$APP_VERSION'; expected major.minor.patch, for example 5.5.0" >&2
    exit 2
fi

major=${APP_VERSION%%.*}
rest=${APP_VERSION#*.}
minor=${rest%%.*}
patch=${rest#*.}
if [ "$patch" -ne 0 ]; then
    echo "repair steps belong to major and minor versions; $APP_VERSION is a patch" >&2
    exit 2
fi

name=$(printf 'repair%d%03d_date%s.py' "$major" "$minor" "$(date -u +%Y%m%d%H%M%S)")
folder=$(dirname "$0")/repairs
cat > "$folder/$name" <<TEMPLATE
# SPDX-License-Identifier: AGPL-3.0-or-later
"""$major.$minor: what this step changes, and why."""

from pathlib import Path


def run(previous_version: str, storage: Path) -> None:
    """Called once, before the configuration is read; may be called again when it was interrupted."""
    raise NotImplementedError
TEMPLATE
echo "$folder/$name"
