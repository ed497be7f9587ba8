# SPDX-License-Identifier: Apache-2.0
"""kill -9 during `cmir add`: no volume that was reported as added may be lost.

A writer is killed at random moments, at least 50 times, over one growing archive; after each kill
the archive must verify clean and hold every volume reported so far, with the embeddings that an
archive made without any kill holds.
"""
import json
import os
import random
import subprocess
import time

import nibabel as nib
import numpy as np
import pytest

CMIR = os.environ["CMIR"]
KILLS = 60


def run(*args):
    return subprocess.run([CMIR, *map(str, args)], capture_output=True, text=True, timeout=120)


def export(archive, volume, path):
    done = run("export", archive, volume, "-o", path)
    assert done.returncode == 0, done.stderr
    return np.load(path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Small CT-like volumes with a body in the middle of the air, all different."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(11)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    for i in range(40):
        body = x**2 / rng.uniform(0.3, 0.8) + y**2 / rng.uniform(0.3, 0.8) < 1
        slices = [np.where(body, rng.normal(40, 60, body.shape), -1000) for _ in range(6)]
        voxels = np.stack(slices, axis=2).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([-3, -3, 5, 1])), folder / f"scan_{i:02}.nii")
    return folder


def test_no_reported_volume_is_lost(scans, tmp_path):
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    rng = random.Random(seed)
    want = tmp_path / "want"
    assert run("add", want, scans).returncode == 0
    ids = [v["VolumeId"] for v in json.loads(run("list", want, "--json").stdout)["Volumes"]]
    assert len(ids) == 40
    reference = {i: export(want, i, tmp_path / "want.npy") for i in ids}

    started = time.monotonic()
    assert run("add", tmp_path / "timed", scans).returncode == 0
    whole = time.monotonic() - started

    archive, reported = tmp_path / "archive", set()
    assert run("init", archive).returncode == 0
    kills = caught_writing = 0
    while kills < KILLS or (caught_writing < 5 and kills < 10 * KILLS):  # a busy machine needs more
        writer = subprocess.Popen([CMIR, "add", archive, scans], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        time.sleep(rng.uniform(0, whole))
        writer.kill()
        output = writer.communicate(timeout=60)[0]
        kills += 1
        now = {line.split()[1] for line in output.splitlines() if line.startswith("added ")}
        caught_writing += 0 < len(now) < 40 - len(reported)
        reported |= now
        assert run("verify", archive).returncode == 0, f"verify after kill {kills}"
        stored = {v["VolumeId"]
                  for v in json.loads(run("list", archive, "--json").stdout)["Volumes"]}
        assert reported <= stored, f"kill {kills} lost {sorted(reported - stored)}"
        for volume in rng.sample(sorted(stored), min(3, len(stored))):
            np.testing.assert_array_equal(export(archive, volume, tmp_path / "got.npy"),
                                          reference[volume])
        if len(stored) == 40:  # full: begin again
            archive, reported = tmp_path / f"archive{kills}", set()
            assert run("init", archive).returncode == 0
    assert caught_writing >= 5, "the kills came at moments that prove nothing"
