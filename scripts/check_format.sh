#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_format.sh [--fix]: every source file is as clang-format (one pinned version) writes it.
set -eu
cd "$(dirname "$0")/.."
mode="--dry-run -Werror"
[ "${1:-}" != --fix ] || mode=-i
# shellcheck disable=SC2086
git ls-files -z '*.c' '*.h' '*.cc' | xargs -0 build/venv/bin/clang-format $mode
# The page, where its packages are: web.sh installs them.
if [ -x web/node_modules/.bin/prettier ]; then
    cd web
    if [ "${1:-}" = --fix ]; then
        node_modules/.bin/prettier --log-level warn --write .
    else
        node_modules/.bin/prettier --log-level warn --check .
    fi
fi
