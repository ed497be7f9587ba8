#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh SECONDS: runs each fuzz target that long, from its corpus, under ASan and UBSan.
#
# New inputs stay in build/fuzz/corpus; an input that fails is left in build/fuzz/failures and
# belongs, with the fix, into tests/corpus.
set -eu
cd "$(dirname "$0")/.."
seconds=$1

scripts/deps.sh clang
CC=clang CXX=clang++ cmake -S . -B build/fuzz -G Ninja -DCMIR_FUZZ=ON \
    -DCMIR_SANITIZE=address,undefined >build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }
cmake --build build/fuzz --target fuzzers
mkdir -p build/fuzz/failures
failed=0
for source in fuzz/fuzz_*.c; do
    word=$(basename "$source" .c | sed 's/^fuzz_//')
    echo "== $word, $seconds s"
    mkdir -p "build/fuzz/corpus/$word"
    "build/fuzz/fuzz/fuzz_$word" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -max_len=65536 -print_final_stats=1 "-artifact_prefix=build/fuzz/failures/$word-" \
        "build/fuzz/corpus/$word" "tests/corpus/$word" >"build/fuzz/$word.log" 2>&1 ||
        failed=$((failed + 1))
    grep -E 'stat::number_of_executed_units|ERROR|SUMMARY|runtime error|cov:' \
        "build/fuzz/$word.log" | tail -n 3
done
exit $((failed > 0))
