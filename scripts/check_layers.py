#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom.  What is not listed here is forbidden.

Checks every #include of src/, json/, cli/, server/, examples/ and include/: folders of src see only the folders in
MAY_SEE, shells only include/cmir, and a third-party header enters through the files in ENTRY."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

MAY_SEE = {
    "base": [],
    "kernel": ["base"],
    "volume": ["base"],
    "io": ["base", "volume"],
    "picture": ["base"],
    "encode": ["base", "volume", "picture"],
    "store": ["base", "picture"],
    "fit": ["base", "store"],
    "rank": ["base", "kernel", "store"],
    "report": ["base", "picture"],
    "assess": ["base"],
    "engine": ["base", "volume", "io", "picture", "encode", "store", "fit", "rank", "assess"],
}
# Shells see include/cmir, their own folder and these.
SHELLS = {
    "json": [],
    "cli": ["json/json.h", "server/server.h"],
    "server": ["json/json.h"],
    "examples": [],
}

# Third-party header (a pattern) -> the files that it enters through.
ENTRY = {
    r"onnxruntime_c_api\.h": ["src/encode/onnx.c"],
    r"dlfcn\.h": ["src/encode/onnx.c"],
    r"dcmtk/.*": ["src/io/dicom_dcmtk.cc", "src/io/dicom_source.h"],
    r"openjpeg\.h": ["src/io/jpeg2000.c"],
    r"sqlite3\.h": ["src/store/db.c"],
    r"Eigen/.*": ["src/fit/eigen.cc"],
    r"png\.h": ["src/picture/png.c"],
    r"jansson\.h": ["src/encode/card.c", "json/json.h", "server/http.h"],
    r"microhttpd\.h": ["server/http_internal.h"],
    r"isa-l/.*": ["src/io/gzip.c", "src/picture/preview.c"],
    r"zlib\.h": ["src/io/gzip.c", "src/io/dicom_stream.c", "src/store/segment.c",
                "src/picture/preview.c", "src/picture/png.c"],
    r"sodium.*": ["src/base/sha256.c", "server/secret.c"],
    r"cpuid\.h|sys/(auxv|syscall)\.h": ["src/base/cpu.c"],
    r"immintrin\.h": ["src/kernel/kernel_avx2.h", "src/kernel/kernel_avx512.h"],
    r"arm_neon\.h": ["src/kernel/kernel_dotprod.c"],
}

# Headers of C, C++ and POSIX that anybody may include.
SYSTEM = set("""
arpa/inet.h assert.h ctype.h dirent.h errno.h fcntl.h float.h fnmatch.h ftw.h getopt.h inttypes.h limits.h locale.h malloc.h
math.h netdb.h netinet/in.h poll.h pthread.h sched.h setjmp.h signal.h spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h
stdio.h stdlib.h string.h strings.h sys/file.h sys/mman.h sys/random.h sys/resource.h sys/socket.h sys/stat.h sys/time.h
sys/types.h sys/wait.h termios.h time.h unistd.h
algorithm array cerrno climits cmath cstddef cstdint cstdio cstdlib cstring exception functional limits list map memory
mutex new string unordered_map utility vector
""".split())

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def judge(path, quote, target):
    """Why `path` may not include `target`, or None."""
    top, folder = path.parts[0], path.parts[1] if len(path.parts) > 2 else ""
    if target.startswith("cmir/"):
        return None if (ROOT / "include" / target).exists() else "no such header"
    for pattern, files in ENTRY.items():
        if re.fullmatch(pattern, target):
            if path.as_posix() in files:
                return None
            return f"{target} enters through {' and '.join(files)} only"
    if quote == '"':
        beside = (path.parent / target).as_posix()
        if top in SHELLS or top == "include":
            ok = top != "include" and (target in SHELLS[top] or (
                (ROOT / beside).exists() and "/" not in target))
            return None if ok else "shells see include/cmir, their own folder and what SHELLS lists"
        owner = target.split("/")[0] if "/" in target else folder
        if not (ROOT / "src" / target).exists() and not (ROOT / beside).exists():
            return "no such file"
        if owner == folder or owner in MAY_SEE[folder]:
            return None
        return f"{folder} may not see {owner}"
    if target in SYSTEM:
        return None
    return f"<{target}> is neither a standard header nor listed in {pathlib.Path(__file__).name}"


def main():
    files = [path.relative_to(ROOT) for top in ["src", "include", *SHELLS]
             for path in sorted((ROOT / top).rglob("*")) if path.suffix in {".c", ".h", ".cc"}]
    faults = 0
    for path in files:
        text = (ROOT / path).read_text()
        if path.parts[0] == "src" and path.parts[1] not in MAY_SEE:
            print(f"{path}: folder {path.parts[1]} is not listed")
            faults += 1
            continue
        for quote, target in INCLUDE.findall(text):
            why = judge(path, quote, target)
            if why:
                print(f"{path}: #include of {target}: {why}")
                faults += 1
    print(f"layers: {len(files)} files, {faults} faults")
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
