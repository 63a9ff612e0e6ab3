#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Brings git, python3 and Docker with its compose plugin to Ubuntu 20.04 to 24.04. May be run again: what is there stays.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    as_root() { "$@"; }
elif command -v sudo >/dev/null 2>&1; then
    as_root() { sudo "$@"; }
else
    echo "This needs root: run it as root, or install sudo." >&2
    exit 1
fi

# shellcheck disable=SC1091  # of the machine it runs on
. /etc/os-release
case "${ID:-}-${VERSION_ID:-}" in
    ubuntu-20.04 | ubuntu-22.04 | ubuntu-24.04) ;;
    *)
        echo "This is for Ubuntu 20.04, 22.04 and 24.04, and this is ${PRETTY_NAME:-another system}: install git, python3" >&2
        echo "and Docker with its compose plugin as https://docs.docker.com/engine/install/ says." >&2
        exit 1
        ;;
esac

export DEBIAN_FRONTEND=noninteractive
as_root apt-get update
as_root apt-get install --yes --no-install-recommends ca-certificates curl git python3

if docker compose version >/dev/null 2>&1; then
    echo "Docker and its compose plugin are there."
else
    as_root install -m 0755 -d /etc/apt/keyrings
    as_root curl --fail --silent --show-error --location https://download.docker.com/linux/ubuntu/gpg \
        --output /etc/apt/keyrings/docker.asc
    as_root chmod a+r /etc/apt/keyrings/docker.asc
    echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/docker.asc]" \
        "https://download.docker.com/linux/ubuntu ${VERSION_CODENAME} stable" |
        as_root tee /etc/apt/sources.list.d/docker.list >/dev/null
    as_root apt-get update
    as_root apt-get install --yes docker-ce docker-ce-cli containerd.io docker-compose-plugin
fi

user="${SUDO_USER:-$(id -un)}"
if [ "$user" != root ] && ! id -nG "$user" | grep -qw docker; then
    as_root usermod --append --groups docker "$user"
    echo "$user is in the group docker now: log out and in again, so that docker works without sudo."
fi
echo "Done. Next: deploy/gateway/README.md"
