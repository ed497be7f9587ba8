#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# web.sh: builds the page of `cmir serve` from web/ into build/web, when it is older than its source.
# Run by `make build` before the program is built, which embeds it.  Where there is no npm the
# program is built without its page, and says so.
set -eu
cd "$(dirname "$0")/../web"

if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "web: no npm here, so cmir serve will have no page: scripts/deps.sh web, then make build"
    exit 0
fi
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "web: installing the packages that build the page"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.installed
fi
out=../build/web/index.html
if [ ! -f $out ] || [ -n "$(find index.html package-lock.json vite.config.js licences.js public src -newer $out -print -quit)" ]; then
    node node_modules/vite/bin/vite.js build --logLevel warn
    touch $out
fi
