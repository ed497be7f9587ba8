#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_arm.sh [CASES]: the kernels on 64-bit Arm: cross-compiled, statically linked, and run by an
# emulator as two CPUs, one that has the dot product instructions and one that has not.
set -eu
cd "$(dirname "$0")/.."
cases=${1:-50}
mkdir -p build/arm
aarch64-linux-gnu-gcc -std=c11 -O2 -g -static -D_XOPEN_SOURCE=700 -ffp-contract=off \
    -Wall -Wextra -Wshadow -Wcast-qual -Wvla -Wstrict-prototypes -Werror -Iinclude -Isrc -Itests \
    src/kernel/*.c src/base/cpu.c tests/test_kernel.c -lm -o build/arm/test_kernel

run() { # CPU LEVEL: LEVEL must not be among those that are skipped
    echo "as $1:"
    qemu-aarch64 -cpu "$1" build/arm/test_kernel --cases "$cases" >build/arm/log ||
        { cat build/arm/log; return 1; }
    grep -v ^SKIPPED build/arm/log
    grep -q "^ok $2:" build/arm/log
}
run max dotprod
run cortex-a53 c
