#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh [web] [tests] [bench] [clang] [arm]: installs what is missing; called by the Makefile.
#
# Always: what building and running need, with ONNX Runtime in build/onnxruntime.  `web`: Node.js with npm, which
# build the page of `cmir serve`.  `tests`: that, a browser, curl, DCMTK's tools and the Python packages of the tests.
# `bench`: Python packages of the benchmarks, among them the peers, and the headers of NumKong in build/numkong.
# `clang`: the second compiler, for fuzzing and CI.  `arm`: a cross compiler and an emulator, for scripts/test_arm.sh.
# What is there already is left alone: a second run installs nothing and takes no time.
set -eu
cd "$(dirname "$0")/.."

HEADER_SHA256=7783e9664bdb0b1b36145b5c8587dd1bc9a399aa000edf2e3dd03003cafc6882  # API version 21
PYTHON=/usr/bin/python3  # Debian's own: tests/requirements.txt pins wheels for it

say() { echo "deps: $*"; }
fail() { echo "deps: $*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "to install packages I must be root or have sudo; missing: $missing"
    fi
}

# Debian packages.
packages="gcc g++ make cmake ninja-build pkg-config zlib1g-dev libisal-dev libpng-dev
    libsqlite3-dev libopenjp2-7-dev libjansson-dev libsodium-dev libmicrohttpd-dev libeigen3-dev libdcmtk-dev libcmocka-dev
    python3-venv ca-certificates"
node=
command -v node >/dev/null && command -v npm >/dev/null || node="nodejs npm" # from wherever they are
for set in "$@"; do
    case $set in
    web) packages="$packages $node" ;;
    tests) packages="$packages $node chromium curl dcmtk" ;;
    bench) ;;
    clang) packages="$packages clang libclang-rt-dev" ;;
    arm) packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user" ;;
    *) fail "no such set: $set" ;;
    esac
done
missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "installing$missing"
    as_root apt-get -q update
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing
fi

# Python environment; its pip also fetches ONNX Runtime.
if [ ! -x build/venv/bin/pip ]; then
    say "making build/venv"
    rm -rf build/venv
    $PYTHON -m venv build/venv
fi
for set in tests bench; do
    case " $* " in *" $set "*) ;; *) continue ;; esac
    if ! cmp -s $set/requirements.txt build/venv/$set.txt; then
        say "installing Python packages of the $set"
        build/venv/bin/pip install -q --disable-pip-version-check --only-binary=:all: \
            --require-hashes -r $set/requirements.txt
        cp $set/requirements.txt build/venv/$set.txt
    fi
done

# NumKong's C headers, out of its source package: its wheel holds none.
case " $* " in
*" bench "*)
    numkong=build/numkong
    if ! cmp -s bench/numkong.txt $numkong/installed.txt; then
        say "fetching the headers of NumKong"
        rm -rf $numkong
        build/venv/bin/pip download -q --disable-pip-version-check --no-deps --no-binary=:all: \
            --require-hashes -r bench/numkong.txt -d $numkong
        tar -xzf $numkong/numkong-*.tar.gz -C $numkong --strip-components=1 --wildcards '*/include' '*/LICENSE'
        rm $numkong/numkong-*.tar.gz
        cp bench/numkong.txt $numkong/installed.txt
    fi ;;
esac

# ONNX Runtime's library: out of the wheel that tests/requirements.txt pins by hash.
onnxruntime=build/onnxruntime
lib=$onnxruntime/lib/libonnxruntime.so.1
mkdir -p $onnxruntime/lib $onnxruntime/include
sed -n '/^onnxruntime==/,/[^\\]$/p' tests/requirements.txt >$onnxruntime/wanted.txt
if [ ! -f $lib ] || ! cmp -s $onnxruntime/wanted.txt $onnxruntime/installed.txt; then
    say "fetching ONNX Runtime"
    rm -rf $onnxruntime/wheel
    build/venv/bin/pip download -q --disable-pip-version-check --only-binary=:all: --no-deps \
        --require-hashes -r $onnxruntime/wanted.txt -d $onnxruntime/wheel
    build/venv/bin/python - $onnxruntime/wheel/*.whl $lib <<'END'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
library, = [n for n in wheel.namelist() if "/capi/libonnxruntime.so.1" in n]
open(sys.argv[2], "wb").write(wheel.read(library))
END
    rm -rf $onnxruntime/wheel
    mv $onnxruntime/wanted.txt $onnxruntime/installed.txt
fi
rm -f $onnxruntime/wanted.txt

# Its C header: Debian 13's package, from the mirror that this machine uses; Debian 12 has none.
header=$onnxruntime/include/onnxruntime_c_api.h
header_is_right() { echo "$HEADER_SHA256  $header" | sha256sum --check --status 2>/dev/null; }
if ! header_is_right; then
    say "fetching the header of ONNX Runtime"
    apt=$PWD/build/apt
    fetch() {
        mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
            sed -n 's/^\(bookworm\|trixie\) //p' | head -n 1)
        [ -n "$mirror" ] || return 1
        rm -rf "$apt"
        mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
            >"$apt/sources.list"
        cat >"$apt/apt.conf" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$apt/state";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
END
        (cd "$apt" && export APT_CONFIG="$apt/apt.conf" && apt-get -q update &&
            apt-get -q download libonnxruntime-dev && dpkg-deb -x libonnxruntime-dev_*.deb files) &&
            cp "$apt/files/usr/include/onnxruntime/onnxruntime_c_api.h" $header
    }
    fetch || fail "cannot get libonnxruntime-dev of Debian 13 from this machine's mirror; \
put its onnxruntime_c_api.h into $onnxruntime/include by hand"
    rm -rf "$apt"
    header_is_right || fail "$header is not the version that this project pins"
fi
