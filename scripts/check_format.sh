#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_format.sh [--fix]: every source file is as clang-format (one pinned version) writes it.
set -eu
cd "$(dirname "$0")/.."
mode="--dry-run -Werror"
[ "${1:-}" != --fix ] || mode=-i
# shellcheck disable=SC2086
git ls-files -z '*.c' '*.h' '*.cc' | xargs -0 build/venv/bin/clang-format $mode
