#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small NIfTI files, good and bad, that start the fuzzer and run as a plain test.

Usage: make_nifti_corpus.py [OUT_FOLDER]     (default tests/corpus/nifti); seeded, standard library only.
"""
import gzip
import os
import random
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DIMS = (5, 4, 3)
ROWS = ((-2, 0, 0, 10), (0, 2, 0, -20), (0, 0.5, 3, 5))
CODES = {'b': (256, 8), 'B': (2, 8), 'h': (4, 16), 'H': (512, 16), 'i': (8, 32), 'I': (768, 32), 'q': (1024, 64),
         'Q': (1280, 64), 'f': (16, 32), 'd': (64, 64)}


def header1(end, code, bits, dims, vox, slope, inter, pixdim, units, qform, sform, quatern):
    h = struct.pack(end + 'i36x8h14xhhh8f', 348, *dims, code, bits, 0, *pixdim)
    h += struct.pack(end + 'fffhBB', vox, slope, inter, 0, 0, units)
    h += struct.pack(end + '128xhh6f12f', qform, sform, *quatern, 1, 2, 3, *sum(ROWS, ()))
    return h + b'\0' * 16 + b'n+1\0'


def header2(end, code, bits, dims, vox, slope, inter, pixdim, units, qform, sform, quatern):
    h = struct.pack(end + 'i', 540) + b'n+2\0\r\n\032\n' + struct.pack(end + 'hh8q3d8dq', code, bits, *dims, 0, 0, 0,
                                                                      *pixdim, vox)
    h += struct.pack(end + '6d2q104xii6d12d', slope, inter, 0, 0, 0, 0, 0, 0, qform, sform, *quatern, 1, 2, 3,
                     *sum(ROWS, ()))
    return h + struct.pack(end + 'iii32x', 0, units, 0)


def image(version=1, end='<', kind='h', dims=(3, *DIMS, 1, 1, 1, 1), vox=None, slope=1.0, inter=0.0,
          pixdim=(1, 2, 2, 3, 1, 0, 0, 0), units=2, qform=1, sform=1, quatern=(0.1, 0.2, 0.3), extension=b'',
          code=None, low=-90):
    make, size = (header1, 348) if version == 1 else (header2, 540)
    code, bits = code or CODES[kind]
    if vox is None:
        vox = size + 4 + len(extension)
    n = 1
    for d in dims[1:1 + max(0, min(dims[0], 7))]:
        n *= max(1, min(d, 64))
    rnd = random.Random(3)
    low = 0 if kind in 'BHIQ' else low
    values = [rnd.uniform(low, 90) if kind in 'fd' else rnd.randint(low, 90) for _ in range(min(n, 4096))]
    head = make(end, code, bits, dims, vox, slope, inter, pixdim, units, qform, sform, quatern)
    return head + bytes([bool(extension), 0, 0, 0]) + extension + struct.pack(f'{end}{len(values)}{kind}', *values)


def seeds():
    for version in (1, 2):
        for end, word in (('<', 'le'), ('>', 'be')):
            for kind in CODES:
                if end == '<' or kind in 'hfq':
                    yield f'n{version}_{word}_{CODES[kind][0]}.nii', image(version, end, kind)
        yield f'n{version}_ct.nii', image(version, kind='h', low=-1000, slope=1, inter=-100)
        yield f'n{version}_qform.nii', image(version, sform=0)
        yield f'n{version}_pixdim.nii', image(version, sform=0, qform=0)
        yield f'n{version}_metre.nii', image(version, units=1)
        yield f'n{version}_frames.nii', image(version, dims=(4, *DIMS, 2, 1, 1, 1))
        yield f'n{version}_extension.nii', image(version, extension=struct.pack('<ii', 32, 6) + b'comment '.ljust(24))
        yield f'n{version}_overrun.nii', image(version, extension=struct.pack('<ii', 4096, 6) + b'\0' * 24)
        yield f'n{version}_short.nii', image(version)[:-7]
        yield f'n{version}_huge.nii', image(version, dims=(3, 32767, 32767, 32767, 1, 1, 1, 1))
        yield f'n{version}_slope_nan.nii', image(version, slope=float('nan'))
        yield f'n{version}_rgb.nii', image(version, code=(128, 24))
        yield f'n{version}_gzip.nii.gz', gzip.compress(image(version), 9, mtime=0)
    whole = image()
    yield 'members.nii.gz', gzip.compress(whole[:200], mtime=0) + gzip.compress(whole[200:], mtime=0) + b'junk'
    yield 'bad_crc.nii.gz', gzip.compress(whole, mtime=0)[:-8] + b'\1' * 8
    yield 'claim.nii.gz', gzip.compress(image(dims=(3, 500, 500, 200, 1, 1, 1, 1)), mtime=0)
    yield 'empty.nii', b''
    yield 'text.nii', b'this is no image\n'


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, '..', 'tests', 'corpus', 'nifti')
    os.makedirs(out, exist_ok=True)
    for name, data in seeds():
        with open(os.path.join(out, name), 'wb') as file:
            file.write(data)


if __name__ == '__main__':
    main()
