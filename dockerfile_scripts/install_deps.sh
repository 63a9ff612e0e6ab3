#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Install what the program needs of Debian 12 or Ubuntu 24.04, as root:  install_deps.sh SET...
#   run     to run: Python, an init, text recognition in $OCR_LANGUAGES (Tesseract's names; empty: none)
#   build   to make the environment .venv
#   vulkan  to compute on AMD and Intel GPUs
#   compile to compile llama.cpp for these
set -eu

packages=''
for set in "$@"; do
    case $set in
        run)
            packages="$packages ca-certificates python3 tini"
            for language in ${OCR_LANGUAGES-eng deu}; do
                packages="$packages tesseract-ocr-$(printf '%s' "$language" | tr '_A-Z' '-a-z')"
            done
            ;;
        build) packages="$packages python3-venv" ;;
        vulkan) packages="$packages libvulkan1 mesa-vulkan-drivers" ;;
        compile) packages="$packages cmake g++ glslc libvulkan-dev make python3-dev" ;;
        *)
            echo "install_deps.sh: there is no set '$set'; there are: run, build, vulkan, compile" >&2
            exit 2
            ;;
    esac
done
[ -n "$packages" ] || { echo "install_deps.sh: name a set: run, build, vulkan, compile" >&2; exit 2; }

export DEBIAN_FRONTEND=noninteractive
apt-get update
# shellcheck disable=SC2086  # one word is one package
apt-get install -y --no-install-recommends $packages
rm -rf /var/lib/apt/lists/*
