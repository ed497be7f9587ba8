#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# reproduce_3dmir.sh MSD_FOLDER LABELS_FOLDER CARD WORK [option of cmir eval...]
#
# 3D-MIR's tables (arXiv 2311.13752): four sites x flag and stage x three databases x every method, from
# the Medical Segmentation Decathlon and an encoder.  docs/reproduce-3dmir.md tells what is needed, what
# each figure means and what is inferred.  May be stopped and run again: what is indexed stays.
set -eu
[ $# -ge 4 ] || { sed -n '3,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(dirname "$0")
cmir=${CMIR:-$here/../build/cmir}
python=${PYTHON:-$here/../build/venv/bin/python}
methods=${METHODS:-maxsim,symmetric,length-corrected,ordered,freq,max,sum,mean,median}
msd=$1 labels=$2 card=$3 work=$4
shift 4

mkdir -p "$work/tables"
rm -f "$work"/tables/*
"$python" "$here/prepare_3dmir.py" "$msd" "$labels" "$work"
"$cmir" add "$work/archive" --encoder "$card" - <"$work/images.txt" >"$work/add.log" ||
    { cat "$work/add.log" >&2; exit 1; }

# The database of a site alone, of all sites merged, and of the site's segmented slices alone.
set -- "$@" --methods "$methods" --k 3,5,10 --cohort organ --nuisance Slices,SliceSpacing
databases="per-site merged"
if [ -f "$work/masks.csv" ]; then
    "$cmir" label -q "$work/archive" "$work/masks.csv"
    databases="$databases masked"
fi
for site in colon liver lung pancreas; do
    for task in flag stage; do
        for database in $databases; do
            split=$work/per-site/$site
            kind="--database merged" # of what the split names
            case $database in
            merged) split=$work/merged/$site ;;
            masked) kind="--database masked --mask mask" ;;
            esac
            out=$work/tables/${site}_${task}_$database
            # shellcheck disable=SC2086
            "$cmir" eval "$work/archive" --task $task $kind --labels "${split}_labels.csv" \
                --queries "${split}_test.csv" --candidates "${split}_train.csv" \
                --report "$out.html" --json -o "$out.json" "$@"
        done
    done
done
"$python" "$here/eval_tables.py" "$work"/tables/*.json >"$work/tables.md"
echo "$work/tables.md"
