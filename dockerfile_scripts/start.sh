#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Start the program; behind HaRP (HP_SHARED_KEY) also the FRP client that carries requests to its unix socket.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${HP_SHARED_KEY:-}" ]; then
    : "${HP_FRP_ADDRESS:?HP_SHARED_KEY is set, so HP_FRP_ADDRESS has to be set too}"
    : "${HP_FRP_PORT:?HP_SHARED_KEY is set, so HP_FRP_PORT has to be set too}"
    : "${APP_ID:?HP_SHARED_KEY is set, so APP_ID has to be set too}"
    : "${APP_PORT:?HP_SHARED_KEY is set, so APP_PORT has to be set too}"
    command -v frpc > /dev/null || { echo "frpc is missing: it is part of the image" >&2; exit 1; }
    configuration="${FRP_CONFIGURATION:-/tmp/frpc.toml}"
    tls=false
    [ -d "${FRP_CERTIFICATES:=/certs/frp}" ] && tls=true
    umask 077
    {
        printf 'serverAddr = "%s"\nserverPort = %s\nloginFailExit = false\n' "$HP_FRP_ADDRESS" "$HP_FRP_PORT"
        printf 'metadatas.token = "%s"\ntransport.tls.enable = %s\n' "$HP_SHARED_KEY" "$tls"
        if [ "$tls" = true ]; then
            printf 'transport.tls.certFile = "%s/client.crt"\n' "$FRP_CERTIFICATES"
            printf 'transport.tls.keyFile = "%s/client.key"\n' "$FRP_CERTIFICATES"
            printf 'transport.tls.trustedCaFile = "%s/ca.crt"\n' "$FRP_CERTIFICATES"
            printf 'transport.tls.serverName = "harp.nc"\n'
        fi
        printf '\n[[proxies]]\nname = "%s"\ntype = "tcp"\nremotePort = %s\n' "$APP_ID" "$APP_PORT"
        printf '[proxies.plugin]\ntype = "unix_domain_socket"\nunixPath = "%s"\n' "${HP_EXAPP_SOCK:-/tmp/exapp.sock}"
    } > "$configuration"
    frpc -c "$configuration" &
fi

exec .venv/bin/python main.py "$@"
