#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# The FRP client that carries requests from HaRP to the program's unix socket.
#   frpc.sh install ARCHIVE CHECKSUMS [FOLDER]
#                  put the client of frp's release archive into FOLDER (/usr/local/bin), when its SHA-256 stands in
#                  CHECKSUMS, the list of the release, and is FRP_SHA256 where that is set
#   frpc.sh run    write its configuration from the environment AppAPI sets, and become it
set -eu

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

install_client() {
    archive=$1 checksums=$2 target=$3
    digest=$(sha256sum < "$archive" | cut -d ' ' -f 1)
    [ "$digest" = "${FRP_SHA256:-$digest}" ] || fail "$archive is not what FRP_SHA256 says: nothing is installed"
    grep -q "^$digest " "$checksums" || fail "$archive is none of those in $checksums: nothing is installed"
    folder=$(mktemp -d)
    tar -xzf "$archive" -C "$folder" --strip-components=1
    install -m 755 "$folder/frpc" "$target/frpc"
    rm -rf "$folder" "$archive" "$checksums"
}

# check that every variable HaRP's tunnel needs is there
check() {
    for name in HP_FRP_ADDRESS HP_FRP_PORT APP_ID APP_PORT; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || fail "HP_SHARED_KEY is set, so $name has to be set too"
    done
    command -v frpc > /dev/null || fail "frpc is missing: it is part of the image (dockerfile_scripts/frpc.sh install)"
}

write_configuration() {
    certificates=${FRP_CERTIFICATES:-/certs/frp}
    if [ -d "$certificates" ]; then tls=true; else tls=false; fi
    printf 'serverAddr = "%s"\nserverPort = %s\nloginFailExit = false\n' "$HP_FRP_ADDRESS" "$HP_FRP_PORT"
    printf 'metadatas.token = "%s"\ntransport.tls.enable = %s\n' "$HP_SHARED_KEY" "$tls"
    if [ "$tls" = true ]; then
        printf 'transport.tls.certFile = "%s/client.crt"\n' "$certificates"
        printf 'transport.tls.keyFile = "%s/client.key"\n' "$certificates"
        printf 'transport.tls.trustedCaFile = "%s/ca.crt"\n' "$certificates"
        printf 'transport.tls.serverName = "harp.nc"\n'
    fi
    printf '\n[[proxies]]\nname = "%s"\ntype = "tcp"\nremotePort = %s\n' "$APP_ID" "$APP_PORT"
    printf '[proxies.plugin]\ntype = "unix_domain_socket"\nunixPath = "%s"\n' "${HP_EXAPP_SOCK:-/tmp/exapp.sock}"
}

case ${1:-} in
    install) install_client "${2:?the archive of the release}" "${3:?its list of checksums}" "${4:-/usr/local/bin}" ;;
    check) check ;;
    run)
        check
        configuration=${FRP_CONFIGURATION:-/tmp/frpc.toml}
        umask 077
        write_configuration > "$configuration"
        exec frpc -c "$configuration"
        ;;
    *) fail "frpc.sh install ARCHIVE CHECKSUMS [FOLDER] | check | run" ;;
esac
