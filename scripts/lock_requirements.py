#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes requirements.txt beside tests/requirements.in and bench/requirements.in: one version of each package, with
the SHA-256 of its wheel for every Python and processor that Debian 12 and 13 run us on.  What both need has the
version of tests/.

  scripts/lock_requirements.py tests bench

Run by hand when a version is to change; needs pip and the network."""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHONS = ["3.11", "3.13"]
PROCESSORS = ["x86_64", "aarch64"]
# Newest first; Debian 12 has glibc 2.36.
PLATFORMS = [f"manylinux_2_{minor}" for minor in range(36, 16, -1)] + ["manylinux2014"]
MARKER = '; platform_machine == "%s"'


def wanted(folder, processor):
    """The lines of requirements.in that this processor is to have (pip would look at the one it runs on)."""
    lines = (ROOT / folder / "requirements.in").read_text().splitlines()
    markers = [MARKER % p for p in PROCESSORS]
    return [line.split(";")[0] for line in lines
            if MARKER % processor in line or not any(m in line for m in markers)]


def constraints(folder):
    """What tests/ has pinned already."""
    if folder == "tests":
        return []
    lines = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if "==" in line]


def resolve(folder, python, processor):
    """What pip would install there: {(name, version): sha256}."""
    with tempfile.TemporaryDirectory() as work:
        inputs = []
        for flag, lines in (("-r", wanted(folder, processor)), ("-c", constraints(folder))):
            path = pathlib.Path(work, "lines" + flag)
            path.write_text("\n".join(lines) + "\n")
            inputs += [flag, str(path)]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
                   "--report", "-", "--only-binary=:all:", "--target", "unused",
                   "--python-version", python, *inputs]
        for platform in PLATFORMS:
            command += ["--platform", f"{platform}_{processor}"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {(item["metadata"]["name"].lower(), item["metadata"]["version"]):
            item["download_info"]["archive_info"]["hashes"]["sha256"] for item in report["install"]}


def lock(folder):
    hashes, processors = {}, {}
    for python in PYTHONS:
        for processor in PROCESSORS:
            for package, sha256 in resolve(folder, python, processor).items():
                hashes.setdefault(package, set()).add(sha256)
                processors.setdefault(package, set()).add(processor)
    names = [name for name, _ in hashes]
    clashes = sorted({name for name in names if names.count(name) > 1})
    if clashes:
        sys.exit(f"pin these in requirements.in, their versions differ: {', '.join(clashes)}")
    lines = ["# Made by scripts/lock_requirements.py from requirements.in."]
    for package, wheels in sorted(hashes.items()):
        only = processors[package]
        line = "==".join(package) + (" " + MARKER % min(only) if len(only) == 1 else "")
        lines.append(" \\\n    ".join([line] + [f"--hash=sha256:{sha256}" for sha256 in sorted(wheels)]))
    (ROOT / folder / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or sys.exit(__doc__):
        lock(name)
