#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh: every benchmark, with the encoders of real data where they are here.  Run by `make bench`.
set -eu
cd "$(dirname "$0")/.."
set -- "${CMIR_SHARED:-../shared}"/data/models/*.json
[ -e "$1" ] || set --

echo "# $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, $(uname -m)"
for source in bench/bench_*.c; do
    name=$(basename "$source" .c)
    echo "== $name"
    case $name in
    bench_encode) "build/$name" "$@" ;;
    *) "build/$name" ;;
    esac
done
