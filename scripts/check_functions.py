#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sizes: no function over 100 lines, no file over 800; both are listed from where they need a
reason (60 and 500).

Relies on the layout that the format check keeps: a function's braces stand alone at column 0."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["src", "json", "cli", "server", "include", "tests", "fuzz", "bench", "examples", "scripts", "web/src", "web/e2e"]
C = {".c", ".h", ".cc"}  # functions are counted in these, lines in the others too
FUNCTION_AIM, FUNCTION_LIMIT = 60, 100
FILE_AIM, FILE_LIMIT = 500, 800


def functions(lines):
    """(name, first line, number of lines) of each function; the name may stand some lines above."""
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
            while start > 0 and lines[start - 1].strip() and not lines[start - 1].startswith(
                    ("}", "#", "/", " *")) and not lines[start - 1].endswith(";"):
                start -= 1
        elif line == "}" and start is not None:
            head = " ".join(lines[start:number])
            name = re.search(r"(\w+)\s*\(", head)
            yield (name.group(1) if name else "?"), start + 1, number - start + 1
            start = None


def main():
    n_files = n_functions = faults = 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in C | {".py", ".js", ".sh"}:
                continue
            name = path.relative_to(ROOT)
            lines = path.read_text().splitlines()
            n_files += 1
            if len(lines) > FILE_AIM:
                over = len(lines) > FILE_LIMIT
                faults += over
                print(f"{name}: {len(lines)} lines{', over the limit' if over else ''}")
            for function, line, length in functions(lines) if path.suffix in C else ():
                n_functions += 1
                if length > FUNCTION_AIM:
                    over = length > FUNCTION_LIMIT
                    faults += over
                    print(f"{name}:{line}: {function}() has {length} lines"
                          f"{', over the limit' if over else ''}")
    print(f"sizes: {n_functions} functions in {n_files} files, {faults} faults")
    return 1 if faults or not n_functions else 0


if __name__ == "__main__":
    sys.exit(main())
