#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_page.sh BUILD: the page in a browser, with the service of a build folder.  Run by ctest as `page`;
# pictures of every state are left in BUILD/e2e/shots.  Exit code 77: skipped, the reason is said.
set -eu
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/../web"
skip() { echo "SKIPPED: page: $*"; exit 77; }

CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
[ -n "$CHROMIUM" ] || skip "no chromium here: scripts/deps.sh tests"
command -v node >/dev/null || skip "no node here: scripts/deps.sh tests"
[ -d node_modules/@playwright/test ] || skip "web/node_modules is missing: make build"
[ -f ../build/web/index.html ] || skip "the page was not built: make build"

export CHROMIUM CMIR="$build/cmir" PAGE_OUT="$build/e2e"
node --test test/*.test.js
rm -rf "$PAGE_OUT"
exec node node_modules/@playwright/test/cli.js test
