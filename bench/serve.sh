#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# serve.sh [SECONDS [CLIENTS]]: `cmir serve` under load: searches by volume id, top 10 with evidence, in an archive of
# 5,000 simulated volumes of 200 slices (1.7 GB; kept in build/serve-work), first alone, then beside uploads of a
# series of 300 MB, one after the other.  Default: a minute each, 32 clients; `serve.sh 600` is the long one.
# Simulated from embeddings of the real scans in ../shared/data; where they are not there is no load, and it says so.
# For figures to publish: an idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
clients=${2:-32}
work=build/serve-work
data=../shared/data
python=build/venv/bin/python

say() { echo "== $*"; }

if [ ! -e $work/archive/catalog.sqlite ]; then
    [ -d $data ] || { echo "SKIPPED: load: there is no folder $data"; exit 0; }
    say "an archive of 5,000 volumes"
    rm -rf $work
    mkdir -p $work
    $python bench/export_real.py build/real $data builtin
    $python bench/simulate.py --real build/real --encoder builtin --dim 576 --volumes 5000 -o $work/simulated
    $python - >$work/labels.csv <<'PY'
import random
random.seed(1)
print('name,finding,stage,size,PatientID')
for i in range(5000):
    print(f'{i:06},{random.choice(["none", "nodule", "tumour"])},{random.randint(1, 4)},{random.uniform(1, 90):.1f},p{i // 2}')
PY
    build/cmir init -q $work/archive
    build/cmir import -q $work/archive $work/simulated/volumes --labels $work/labels.csv
    rm -rf $work/simulated
fi
$python - $work/series.nii <<'PY'
import sys
import nibabel
import numpy as np
rng = np.random.default_rng(1)
y, x = np.mgrid[-1:1:512j, -1:1:512j]
slice = np.where(x**2 + y**2 < .7, 40, -1000).astype(np.int16)
voxels = np.repeat(slice[:, :, None], 600, 2) + rng.integers(-20, 20, (512, 512, 600), dtype=np.int16)
nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-.8, -.8, 1, 1])), sys.argv[1])
PY
seq -f %06.0f 0 4999 | shuf --random-source=<(yes) >$work/ids

: >$work/url
build/cmir serve $work/archive --listen 127.0.0.1:0 --requests-per-minute 1000000 >$work/url 2>$work/log &
service=$!
trap 'kill $service 2>/dev/null; wait $service 2>/dev/null || true' EXIT
until grep -q serving $work/url; do sleep .1; done
port=$(sed 's|.*:\([0-9]*\)/$|\1|' $work/url)
api=http://127.0.0.1:$port/api/v1

cpu() { awk '{print ($14 + $15) / 100}' /proc/$service/stat; }
load() { # NAME
    before=$(cpu)
    build/bench_serve "$port" "$clients" "$seconds" $service <$work/ids | tee $work/lines
    $python - "$1" "$before" "$(cpu)" $work/lines <<'PY'
import json
import sys
last = json.loads(open(sys.argv[4]).read().splitlines()[-1])
print(sys.argv[1], f'{1e3 * (float(sys.argv[3]) - float(sys.argv[2])) / last["answers"]:.1f} ms of CPU a search')
PY
}
state_of() { curl -s "$api/jobs/$1" | sed 's/.*"State":"\([a-z]*\)".*/\1/'; }
uploads() {
    while :; do
        id=$(curl -s "$api/uploads" -F file=@$work/series.nii | sed 's/.*"JobId":"\([0-9a-f]*\)".*/\1/')
        while [ "$(state_of "$id")" = queued ] || [ "$(state_of "$id")" = running ]; do sleep 1; done
        echo "upload $(state_of "$id")"
        curl -s -X DELETE "$api/uploads/$id"
    done
}

uptime
say "searches alone, $clients clients, $seconds s"
load alone
say "the same beside uploads of 300 MB"
uploads &
uploader=$!
load beside
kill $uploader 2>/dev/null || true
uptime
