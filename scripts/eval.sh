#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# eval.sh: the evaluation tables of docs/results/, each with the command that makes it.  Run by
# `make eval`.
#
# Phantoms at four sites always, through the same command as 3D-MIR's own data; real scans where
# ../shared/data is.  Works in build/eval; what is there of an earlier run is used again.
set -eu
cd "$(dirname "$0")/.."
python=build/venv/bin/python
dir=build/eval
results=docs/results
data=../shared/data
mkdir -p "$dir" "$results"

say() { printf '\n%s\n' "$*" >&2; }

# The phantom's volumes and masks, laid out as the Medical Segmentation Decathlon is.
lay_out() { # PHANTOM MSD
    rm -rf "$2"
    for task in Task03_Liver Task06_Lung Task07_Pancreas Task10_Colon; do
        cohort=$(echo "${task#*_}" | tr '[:upper:]' '[:lower:]')
        mkdir -p "$2/$task/imagesTr" "$2/$task/labelsTr"
        for volume in "$1"/volumes/"${cohort}"_*.nii.gz; do
            ln -s "$PWD/$volume" "$2/$task/imagesTr/"
            ln -s "$PWD/$1/masks/$(basename "$volume")" "$2/$task/labelsTr/"
        done
    done
}

say "Phantoms at four sites, with the confound of 3D-MIR on purpose and without"
[ -d "$dir/phantom" ] || {
    build/cmir phantom "$dir/phantom.part" --sites --volumes 168 --seed 1
    mv "$dir/phantom.part" "$dir/phantom"
}
lay_out "$dir/phantom" "$dir/msd"
for benchmark in confounded honest; do
    scripts/reproduce_3dmir.sh "$dir/msd" "$dir/phantom/$benchmark" builtin "$dir/$benchmark" --seed 1 >&2
    $python scripts/eval_tables.py -o "$results/phantom_$benchmark.json" \
        "$dir/$benchmark"/tables/*.json >"$results/phantom_$benchmark.md"
done
