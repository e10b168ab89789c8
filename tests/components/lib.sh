# shellcheck shell=bash
# Sourced by the install scripts beside it. Each ends with 0 when its component is ready, else it says why not.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
# What is not a package of the system is kept here.
cache=${WEIR_COMPONENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-components}
component=$(basename "$(dirname "$(readlink -f "$0")")")

skip() {
    echo "$component: $*" >&2
    exit 1
}

# package COMMAND PACKAGE...: installs packages of the system's own distribution unless the command is there.
package() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return 0; fi
    command -v apt-get >/dev/null || skip "$command is not installed, and this system has no apt-get"
    [ "$(id -u)" = 0 ] || skip "$command is not installed; as root: apt-get install $*"
    local log
    log=$(mktemp)
    # Services that come with a package are not started: where this file ends with 101, nothing may start them.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        made=1
    fi
    local status=0
    { apt-get -qq install -y --no-install-recommends "$@" ||
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"; }; } > "$log" 2>&1 || status=$?
    if [ -n "$made" ]; then rm -f "$policy"; fi
    if [ "$status" != 0 ] || ! command -v "$command" >/dev/null; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        skip "the packages could not be installed: $*"
    fi
    rm -f "$log"
}

ready() { echo "$component: ready ($1)"; }
