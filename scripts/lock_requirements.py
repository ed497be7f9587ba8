#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/requirements.txt from tests/requirements.in: one version of each package, with the
SHA-256 of its wheel for every Python and processor that Debian 12 and 13 run us on.

Run by hand when a version is to change; needs pip and the network."""
import json
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests"
PYTHONS = ["3.11", "3.13"]
PROCESSORS = ["x86_64", "aarch64"]
# Newest first; Debian 12 has glibc 2.36.
PLATFORMS = [f"manylinux_2_{minor}" for minor in range(36, 16, -1)] + ["manylinux2014"]


def resolve(python, processor):
    """What pip would install there: {(name, version): sha256}."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
               "--report", "-", "--only-binary=:all:", "--target", "unused",
               "--python-version", python, "-r", str(TESTS / "requirements.in")]
    for platform in PLATFORMS:
        command += ["--platform", f"{platform}_{processor}"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {(item["metadata"]["name"].lower(), item["metadata"]["version"]):
            item["download_info"]["archive_info"]["hashes"]["sha256"] for item in report["install"]}


def main():
    hashes = {}
    for python in PYTHONS:
        for processor in PROCESSORS:
            for package, sha256 in resolve(python, processor).items():
                hashes.setdefault(package, set()).add(sha256)
    names = [name for name, _ in hashes]
    clashes = sorted({name for name in names if names.count(name) > 1})
    if clashes:
        sys.exit(f"pin these in requirements.in, their versions differ: {', '.join(clashes)}")
    lines = ["# Made by scripts/lock_requirements.py from requirements.in."]
    for (name, version), wheels in sorted(hashes.items()):
        lines.append(" \\\n    ".join([f"{name}=={version}"] +
                                      [f"--hash=sha256:{sha256}" for sha256 in sorted(wheels)]))
    (TESTS / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
