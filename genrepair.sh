#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Write the template of a repair step: APP_VERSION=5.5.0 ./genrepair.sh, or ./genrepair.sh 5.5.0
# One for the database is written in SQL: ./genrepair.sh 5.5.0 sql
set -eu

APP_VERSION=${1:-${APP_VERSION:-}}
KIND=${2:-py}
case "$KIND" in
    py | sql) ;;
    *)
        echo "the kind of a step is '$KIND'; expected py (files, the default) or sql (the database)" >&2
        exit 2
        ;;
esac
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

name=$(printf 'repair%d%03d_date%s.%s' "$major" "$minor" "$(date -u +%Y%m%d%H%M%S)" "$KIND")
folder=$(dirname "$0")/repairs
if [ "$KIND" = sql ]; then
    cat > "$folder/$name" <<TEMPLATE
-- SPDX-License-Identifier: AGPL-3.0-or-later
-- $major.$minor: what this step changes, and why. It runs in one transaction; change schema.sql to the same end.
TEMPLATE
    echo "$folder/$name"
    exit 0
fi
cat > "$folder/$name" <<TEMPLATE
# SPDX-License-Identifier: AGPL-3.0-or-later
"""$major.$minor: what this step changes, and why."""

from pathlib import Path


def run(previous_version: str, storage: Path) -> None:
    """Called once, before the configuration is read; may be called again when it was interrupted."""
    raise NotImplementedError
TEMPLATE
echo "$folder/$name"
