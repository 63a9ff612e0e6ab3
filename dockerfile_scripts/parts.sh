#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# List what an installation consists of, the largest first, in MB of 1000 kB, and the sum in the last line: packages of
# Debian as dpkg states them, packages of Python and the program as they lie on the disk. What is below 1 MB is one line.
set -eu
cd "$(dirname "$0")/.."

{
    if command -v dpkg-query > /dev/null; then
        dpkg-query --show --showformat '${Installed-Size}\tdebian ${Package}\n'
    fi
    for folder in .venv/lib/python*/site-packages/*; do
        du -sk "$folder" | awk -v name="$(basename "$folder")" '{ print $1 "\tpython " name }'
    done
    for folder in ./*; do
        case $folder in
            ./persistent_storage) continue ;;
        esac
        du -sk "$folder" | awk -v name="$(basename "$folder")" '{ print $1 "\tprogram " name }'
    done
} | sort -rn | awk -F '\t' '
    { sum += $1 }
    $1 * 1.024 >= 1000 { printf "%8.1f  %s\n", $1 * 1.024 / 1000, $2; next }
    { small += $1; count += 1 }
    END {
        printf "%8.1f  %d smaller ones\n", small * 1.024 / 1000, count
        printf "%8.1f  in all\n", sum * 1.024 / 1000
    }'
