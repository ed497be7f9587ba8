#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# eval.sh [quick|full]: the evaluation tables of docs/results/, each with the commands that make it.
# Run by `make eval`.
#
# Phantoms at four sites always, through the same command as 3D-MIR's own data; where ../shared/data
# is, sarcomas as well; full: every study of real scans (docs/evaluation.md says how long).  Works
# in build/eval; what an earlier run made there is used again.
set -eu
cd "$(dirname "$0")/.."
mode=${1:-quick} # or full
start=$(date +%s)
python=build/venv/bin/python
dir=build/eval
results=docs/results
data=../shared/data
methods=${METHODS:-maxsim,symmetric,length-corrected,ordered,freq,max,sum,mean,median}
mkdir -p "$dir" "$results"

say() { printf '\n%s\n' "$*"; }

# Tables of what cmir eval wrote: NAME.md and NAME.json in docs/results.
tables() { # NAME FILE.json...
    name=$1
    shift
    $python scripts/eval_tables.py -o "$dir/new.json" "$@" >"$dir/new.md"
    mv "$dir/new.json" "$results/$name.json"
    mv "$dir/new.md" "$results/$name.md"
    echo "$results/$name.md"
}

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

# What is found in an archive of a cut of the sarcoma set: a table of cmir eval.
judge() { # TABLE ARCHIVE CUT TASK OPTION...
    table=$dir/tables/$1 archive=$2 cut=$3 task=$4
    shift 4
    build/cmir eval "$archive" --task "$task" --labels "$dir/sarcoma/$cut/labels.csv" --group PatientID \
        --nuisance crop_ml,slices,spacing,position --methods "$methods" --seed 1 "$@" \
        --report "$table.html" --json -o "$table.json"
}

# Every cut of the sarcoma set with one encoder: is tumour in a slab; size class of a fixed window,
# and of the crop, whose size alone tells it; where tumours of other patients' crops are.  The first two
# whitened as well, without who asks.
sarcoma() { # ENCODER-NAME CARD
    for cut in slabs windows crops; do
        archive=$dir/sarcoma_$1_$cut
        rm -rf "$archive"
        build/cmir add "$archive" --encoder "$2" "$dir/sarcoma/$cut" >"$archive.log" ||
            { cat "$archive.log" >&2; exit 1; }
        case $cut in
        slabs) judge "sarcoma_$1_flag_slabs" "$archive" slabs flag ;;
        windows) judge "sarcoma_$1_size_class_windows" "$archive" windows size_class ;;
        crops) judge "sarcoma_$1_size_class_crops" "$archive" crops size_class --locate mask ;;
        esac
    done
    # Eigenvectors take one thread, so both at once.
    judge "sarcoma_$1_flag_slabs_whitened" "$dir/sarcoma_$1_slabs" slabs flag --whiten 64 &
    judge "sarcoma_$1_size_class_windows_whitened" "$dir/sarcoma_$1_windows" windows size_class --whiten 64
    wait $!
}

say "Phantoms at four sites, with the confound of 3D-MIR on purpose and without"
[ -d "$dir/phantom" ] || {
    build/cmir phantom "$dir/phantom.part" --sites --volumes 168 --seed 1
    mv "$dir/phantom.part" "$dir/phantom"
}
lay_out "$dir/phantom" "$dir/msd"
for benchmark in confounded honest; do
    METHODS=$methods scripts/reproduce_3dmir.sh "$dir/msd" "$dir/phantom/$benchmark" builtin \
        "$dir/$benchmark" --seed 1 >/dev/null
    tables phantom_$benchmark "$dir/$benchmark"/tables/*.json
done

if [ ! -d "$data" ]; then
    say "SKIPPED: real scans: there is no folder $data"
    exit 0
fi
mobilenet=$data/models/mobilenet_v2_224.json
squeezenet=$data/models/squeezenet_v1_0.json

say "Sarcomas: flag and size class, leave one patient out, three encoders"
[ -d "$dir/sarcoma/masks" ] || {
    rm -rf "$dir/sarcoma"
    $python scripts/make_sarcoma.py "$dir/sarcoma.part" --data "$data"
    mv "$dir/sarcoma.part" "$dir/sarcoma"
}
mkdir -p "$dir/tables"
rm -f "$dir"/tables/*
sarcoma builtin builtin
sarcoma mobilenet "$mobilenet"
sarcoma squeezenet "$squeezenet"
tables sarcoma "$dir"/tables/sarcoma_*.json

[ "$mode" = full ] || exit 0

# docs/results.md and docs/results-method.md quote these tables. All share one folder of cuts, archives and embeddings.
study() { # NAME SCRIPT ARGUMENT...
    name=$1 script=$2
    shift 2
    say "$(date +%H:%M:%S) $name"
    $python "scripts/$script.py" "$dir/study" --data "$data" --encoder builtin --encoder "$mobilenet" \
        --encoder "$squeezenet" "$@" -o "$dir/$name.json" >"$dir/new.md"
    mv "$dir/new.md" "$results/$name.md"
    echo "$results/$name.md"
}
study slabs eval_slabs
study regions eval_regions
study method_study study_method --agree-with "$dir/slabs.json" --agree-with "$dir/regions.json"
study method_tried study_tried --patches "$mobilenet"
cp "$dir/method_study.json" "$dir/method_tried.json" "$results/"
say "Full: all in $(($(date +%s) - start)) s"
