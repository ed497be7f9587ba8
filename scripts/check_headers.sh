#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_headers.sh: every public header compiles alone, as C11 and as C++17, with every compiler
# that is here.
set -eu
cd "$(dirname "$0")/.."
n=0
check() { # COMPILER LANGUAGE STANDARD
    command -v "$1" >/dev/null || return 0
    for header in include/cmir/*.h; do
        "$1" -x "$2" "-std=$3" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude \
            -include "$header" /dev/null
        n=$((n + 1))
    done
}
check gcc c c11
check g++ c++ c++17
check clang c c11
check clang++ c++ c++17
echo "headers: $n compiled"
[ "$n" -gt 0 ]
