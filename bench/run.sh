#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [quick|full]: every benchmark.  Prints tables, writes docs/results/*.json, then docs/images/*.svg.
# Run by `make bench` (quick, under 5 minutes once build/real is there) and `make bench BENCH=full` (archives of up to
# 50,000 volumes: 40 GB of disk, an hour, most of it for the peers' indexes).
#
# Real scans are looked for in ../shared/data (or $CMIR_SHARED/data); without them only encoding is timed.
# For figures to publish: an idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-quick}
data=${CMIR_SHARED:-../shared}/data
python=build/venv/bin/python
work=build/bench-work
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE  # the kernels of OpenBLAS that fit this CPU
mkdir -p $work

say() { echo "== $*"; }

encode() {
    say "encoding"
    if [ "$mode" = full ]; then set -- "$data"/models/*.json; else set --; fi
    [ -e "${1:-}" ] || set --
    build/bench_encode "$@"
}

# Slice embeddings of real scans, kept in build/real.
real() {
    say "embeddings of real scans"
    $python bench/export_real.py build/real "$data" "$data/models/squeezenet_v1_0.json"
    set -- --region chest
    [ "$mode" != full ] || set --
    $python bench/export_real.py build/real "$data" "$data/models/mobilenet_v2_224.json" "$@"
}

# Every kernel on every pair; each line gets the pair's name.
maxsim() {
    say "MaxSim of one pair, one core"
    openblas=$(ls build/venv/lib/python3*/site-packages/numpy.libs/libscipy_openblas64_*.so)
    $python bench/make_pairs.py build/real $work/pairs
    for pair in A B real; do
        set -- $work/pairs/$pair.query.npy $work/pairs/$pair.candidate.npy
        {
            build/bench_maxsim "$@" $work/pairs/$pair.first.npy
            [ ! -x build/peers_maxsim ] || build/peers_maxsim "$@" "$openblas"
            [ "$(uname -m)" != x86_64 ] || $python bench/peers_maxsim_cpu.py "$@"
        } | sed "s/^{/{\"pair\": \"$pair\", /"
    done | tee $work/maxsim.lines | sed -u 's/.*"peer": "\([^"]*\)".*/  \1/'
    $python bench/results.py maxsim <$work/maxsim.lines
    for pair in A B real; do
        $python bench/numkong_scale.py $work/pairs/$pair.query.npy $work/pairs/$pair.candidate.npy |
            sed "s/^{/{\"pair\": \"$pair\", /"
    done | $python bench/results.py numkong_scale
}

ragged() {
    say "volumes of unequal length"
    build/bench_ragged | tee $work/ragged.lines | sed 's/^/  /'
    $python bench/results.py ragged <$work/ragged.lines >/dev/null
}

# Whole searches of a simulated archive: ours, and with `peers` theirs, whose true lists are our exhaustive ones.
search() { # VOLUMES DIM ENCODER [peers]
    say "searches, $1 simulated volumes x 200 slices x $2"
    name=search_$1
    [ "$2" = 512 ] || name=${name}_$2
    peers=${4:-}
    shape=$($python bench/simulate.py --real build/real --encoder "$3" --dim "$2" --volumes "$1" \
        -o $work/archive --raw $work/archive.f16)
    rm -f $work/truth.json
    # shellcheck disable=SC2086
    set -- $work/archive.f16 $shape $work/archive/queries --truth $work/truth.json
    {
        build/bench_search "$@"
        [ -z "$peers" ] || $python bench/peers_search.py "$@"
    } | tee "$work/$name.lines" | sed -u 's/.*"peer": "\([^"]*\)".*/  \1/'
    $python bench/results.py "$name" <"$work/$name.lines"
    rm -rf $work/archive $work/archive.f16
}

encode
ragged
if [ -e "$data/regions.csv" ]; then
    real
    maxsim
    search 1000 512 squeezenet peers
    if [ "$mode" = full ]; then
        search 5000 512 squeezenet
        search 10000 512 squeezenet peers
        search 10000 768 mobilenet
        search 50000 512 squeezenet
    fi
    $python bench/plots.py
else
    say "no real scans in $data: only encoding was timed"
fi
