#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_symbols.sh BUILD: libcmir.so exports what include/cmir declares, and nothing else; every
# global symbol of libcmir.a starts with cmir_, so that it can be linked into anything.
set -eu
build=$1
source=$(dirname "$0")/..
list=$(mktemp -d)
trap 'rm -rf "$list"' EXIT
status=0

nm -D --defined-only "$build/libcmir.so" | awk '{ print $3 }' | sort >"$list/exported"
# CMIR_API may stand on the line before the name.
cat "$source"/include/cmir/*.h | tr '\n' ' ' |
    grep -oE 'CMIR_API [^(;]*\(' | grep -oE 'cmir_[a-z0-9_]+ *\($' | tr -d ' (' | sort \
    >"$list/declared"
if ! diff "$list/declared" "$list/exported" >"$list/difference"; then
    echo "declared (<) against exported (>):"
    cat "$list/difference"
    status=1
fi

# Weak symbols (V, W, u) are C++ templates that the linker merges.
nm -g --defined-only "$build/libcmir.a" 2>/dev/null |
    awk '$2 ~ /^[TDBRC]$/ && $3 !~ /^cmir_/ { print $3 }' | sort -u >"$list/strangers"
if [ -s "$list/strangers" ]; then
    echo "without the prefix cmir_:"
    cat "$list/strangers"
    status=1
fi
echo "symbols: $(wc -l <"$list/exported") exported, $(wc -l <"$list/strangers") without the prefix"
exit $status
