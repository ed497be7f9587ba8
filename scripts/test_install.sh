#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_install.sh BUILD: installs BUILD into a fresh prefix and uses it from outside as two other
# projects would: examples/search.c through pkg-config, and through CMake's find_package.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cmake --install "$build" --prefix "$dir/prefix" >"$dir/install.log"
cd "$dir"
export LD_LIBRARY_PATH="$dir/prefix/lib"

"$dir/prefix/bin/cmir" phantom scans --volumes 3 --seed 1 >phantom.log
"$dir/prefix/bin/cmir" add archive scans/volumes >add.log
volume=$(basename "$(find scans/volumes -name '*.nii.gz' | sort | head -n 1)" .nii.gz)

expect() { # PROGRAM: it finds the two other volumes, and says what every output must say
    "$1" archive "$volume" >out.txt
    [ "$(grep -c ' slices ' out.txt)" = 2 ] || { cat out.txt; echo "$1: not 2 hits"; exit 1; }
    ! grep -q " $volume " out.txt || { cat out.txt; echo "$1: found the query itself"; exit 1; }
    grep -q 'research use only, not for diagnosis' out.txt
}

export PKG_CONFIG_PATH="$dir/prefix/lib/pkgconfig"
"$dir/prefix/bin/cmir" --version | grep -qF "$(pkg-config --modversion cmir)"
# shellcheck disable=SC2046
cc -std=c11 -Wall -Werror "$source/examples/search.c" $(pkg-config --cflags --libs cmir) -o shared
expect ./shared
# shellcheck disable=SC2046
cc -std=c11 -Wall -Werror "$source/examples/search.c" -o static \
    $(pkg-config --cflags --libs --static cmir | sed 's/-lcmir/-l:libcmir.a/')
expect ./static

mkdir cmake && cp "$source/examples/search.c" "$source/examples/CMakeLists.txt" cmake
cmake -S cmake -B cmake/build -DCMAKE_PREFIX_PATH="$dir/prefix" >cmake.log
cmake --build cmake/build >>cmake.log
expect cmake/build/search
echo "install: used through pkg-config (shared, static) and find_package"
