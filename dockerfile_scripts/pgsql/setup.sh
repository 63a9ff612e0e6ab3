#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Make role and database for the program on a PostgreSQL of your own, and print what to set:
#   setup.sh [URL]   URL: a superuser's, such as postgresql://postgres:password@host/postgres; without it: psql's defaults
# $CCB_DB_NAME (ccb) names both; $CCB_DB_PASSWORD is the role's password, made up where it is missing. What is there
# already stays, but for the password.
set -eu

name=${CCB_DB_NAME:-ccb}
case $name in
    '' | [!a-z_]* | *[!a-z0-9_]*)
        echo "setup.sh: CCB_DB_NAME: small letters, digits and _ only" >&2
        exit 2
        ;;
esac
password=${CCB_DB_PASSWORD:-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')}
case $password in
    *[!A-Za-z0-9._~-]*)
        echo "setup.sh: CCB_DB_PASSWORD: letters, digits and . _ ~ - only, for it becomes part of a URL" >&2
        exit 2
        ;;
esac
psql=${PSQL:-psql}

ask() {
    "$psql" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --set name="$name" ${1:+"--dbname=$1"}
}

# The password goes in over standard input: arguments can be read by every user of the machine.
ask "${1:-}" <<SQL
SET client_min_messages = warning;
\\set password '$password'
SELECT format('CREATE ROLE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec
SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD %L', :'name', :'password') \\gexec
SELECT format('GRANT %I TO CURRENT_USER', :'name') \\gexec
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8''', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
\\connect :name
CREATE EXTENSION IF NOT EXISTS vector;
SQL

place=$(ask "${1:-}" <<SQL
SELECT coalesce(host(inet_server_addr()), 'localhost') || ':' || current_setting('port');
SQL
)
# A password that is known already stays out of logs.
if [ -n "${CCB_DB_PASSWORD:-}" ]; then shown='***'; else shown=$password; fi
echo "CCB_DB_URL=postgresql://$name:$shown@$place/$name"
