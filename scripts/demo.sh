#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh: make-believe patients -> archive -> search -> report.  Run by `make demo`.
set -eu
cd "$(dirname "$0")/.."
cmir=build/cmir
dir=build/demo
rm -rf "$dir"
mkdir -p "$dir"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. Scans: 24 made-up patients, some with a lesion, and 8 queries"
run $cmir phantom "$dir/phantom" --volumes 24 --seed 7

say "2. Index them with the built-in encoder"
run $cmir add "$dir/archive" "$dir/phantom/volumes" --labels "$dir/phantom/labels.csv"
run $cmir stat "$dir/archive"

say "3. Search with new patients: who looks like them?"
for query in "$dir"/phantom/queries/new_*.nii.gz; do
    run $cmir search "$dir/archive" "$query" --limit 3
done

say "4. Search with new scans of a part of indexed patients: are patient and slices found?"
tail -n +2 "$dir/phantom/truth.csv" | while IFS=, read -r query source first last; do
    printf 'The truth: %s shows slices %s-%s of %s\n' "$query" "$first" "$last" "$source"
    run $cmir search "$dir/archive" "$dir/phantom/queries/$query.nii.gz" --limit 3
done

say "5. Evaluation: does the archive find tumours? Where tumour-free scans come from another cohort it seems to;"
echo "   so does the cohort alone. Where they come from the same cohort, on the same scans:"
run $cmir phantom "$dir/sites" --sites --volumes 56 --seed 7
run $cmir add -q "$dir/sites/archive" "$dir/sites/volumes" --labels "$dir/sites/scans.csv"
for benchmark in confounded honest; do
    run $cmir eval "$dir/sites/archive" --labels "$dir/sites/$benchmark/liver_labels.csv" --task flag \
        --cohort cohort --nuisance slice_mm,slices --k 3 --neighbours 3 --report "$dir/$benchmark.html"
done

say "6. A report to open"
query=$(sed -n '2s/,.*//p' "$dir/phantom/truth.csv")
run $cmir search "$dir/archive" "$dir/phantom/queries/$query.nii.gz" --limit 5 \
    --report "$dir/report.html" > "$dir/search.txt"
printf '\nThe page on this archive:  %s serve %s/archive   then open http://127.0.0.1:8043/\n' "$cmir" "$dir"
printf 'Open this in a browser: file://%s/%s/report.html\n' "$(pwd)" "$dir"
