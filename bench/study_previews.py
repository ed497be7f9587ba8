#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How small and how fast slices become as previews, by codec (docs/decisions/previews.md).

  bench/study_previews.py ../shared/data ct/torso ct/geometry/GE_TILT mr/prostate mr/abdomen

Slices of real scans, as they are, rounded to one HU (MR: to 4096 steps of the volume's range), and averaged to a longest
side of 128, rounded to two HU (1024 steps); CPU time of one thread.  Codecs come from imagecodecs, so that all are called alike: libpng, zlib and libdeflate on
rows that were predicted here (not timed: C does it in 0.1 ms for a slice of 512 x 512), CharLS, OpenJPEG."""
import argparse
import pathlib
import time
import zlib

import imagecodecs as ic
import nibabel
import numpy as np
import pydicom


def read(path):
    """-> slices of one scan, float."""
    if path.is_dir():
        files = [pydicom.dcmread(f) for f in sorted(path.iterdir())]
        return [f.pixel_array * float(f.get('RescaleSlope', 1)) + float(f.get('RescaleIntercept', 0)) for f in files]
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    return [voxels[:, ::-1, k].T for k in range(voxels.shape[2])]


def scans(root, folders):
    """Folders of files .dcm are one scan, as is each .nii.gz."""
    for folder in folders:
        path = pathlib.Path(root) / folder
        series = {f.parent for f in path.rglob('*') if f.is_file() and not f.name.endswith('.nii.gz')}
        for scan in sorted(series) + sorted(path.rglob('*.nii.gz')):
            yield scan


def shrink(x, side):
    """Averages of what each pixel covers."""
    def weights(n_in, n_out):
        edges = np.arange(n_out + 1) * n_in / n_out
        low = np.maximum(edges[:-1, None], np.arange(n_in))
        high = np.minimum(edges[1:, None], np.arange(n_in) + 1)
        return np.clip(high - low, 0, None) * n_out / n_in
    scale = max(1, max(x.shape) / side)
    rows, cols = (max(1, round(n / scale)) for n in x.shape)
    return weights(x.shape[0], rows) @ x @ weights(x.shape[1], cols).T


def predict(x, kind):
    """What is left of int16 values, modulo 2^16, when the left, or the median of left, upper and gradient is known."""
    p = np.zeros((x.shape[0] + 1, x.shape[1] + 1), np.int64)
    p[1:, 1:] = x
    a, b, c = p[1:, :-1], p[:-1, 1:], p[:-1, :-1]
    guess = a if kind == 'left' else np.clip(a + b - c, np.minimum(a, b), np.maximum(a, b))
    return (x - guess).astype(np.int16)


def zigzag(d):
    """Signs into the lowest bit; then all low bytes before all high ones."""
    d = d.astype(np.int32)
    z = ((d << 1) ^ (d >> 31)).astype(np.uint16)
    return np.concatenate([(z & 255).astype(np.uint8).ravel(), (z >> 8).astype(np.uint8).ravel()])


def deflated(kind, planes, encode, decode, level):
    def prepare(x):
        d = predict(x, kind)
        return zigzag(d).tobytes() if planes else d.tobytes()
    return prepare, lambda b: encode(b, level=level), lambda b, x: decode(b, out=None if decode is ic.zlib_decode else 2 * x.size)


def run_encode(b):
    z = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return z.compress(b) + z.flush()


def codecs():
    unsigned = lambda x: (x.astype(np.int32) + 32768).astype(np.uint16)
    shifted = lambda x: (np.clip(x, -4096, 32767 - 4096) + 4096).astype(np.uint16)
    keep = lambda decode: lambda b, x: decode(b)
    yield 'PNG 16 bits, level 6', unsigned, lambda x: ic.png_encode(x, level=6), keep(ic.png_decode)
    yield 'PNG 16 bits, level 1', unsigned, lambda x: ic.png_encode(x, level=1), keep(ic.png_decode)
    for kind, planes, level in [('left', False, 6), ('left', True, 6), ('median', False, 6), ('median', True, 1),
                                ('median', True, 6)]:
        yield ('%s%s, zlib %d' % (kind, ', planes of bytes' if planes else '', level),
               *deflated(kind, planes, ic.zlib_encode, ic.zlib_decode, level))
    yield ('median, planes of bytes, runs only, zlib', lambda x: zigzag(predict(x, 'median')).tobytes(), run_encode,
           lambda b, x: zlib.decompress(b))
    for level in (1, 6):
        yield ('median, planes of bytes, libdeflate %d' % level,
               *deflated('median', True, ic.deflate_encode, ic.deflate_decode, level))
    for near in (0, 1, 2, 4):
        yield ('JPEG-LS (CharLS), error <= %d' % near, shifted, lambda x, n=near: ic.jpegls_encode(x, level=n),
               keep(ic.jpegls_decode))
    yield ('JPEG 2000 (OpenJPEG), lossless', shifted,
           lambda x: ic.jpeg2k_encode(x, level=0, reversible=True, codecformat='j2k', numthreads=1), keep(ic.jpeg2k_decode))
    yield ('JPEG 2000 (OpenJPEG), 60 dB', shifted,
           lambda x: ic.jpeg2k_encode(x, level=60, codecformat='j2k', numthreads=1), keep(ic.jpeg2k_decode))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('root')
    p.add_argument('folders', nargs='+')
    p.add_argument('--every', type=int, default=4, help='take every n-th slice')
    a = p.parse_args()
    sizes = {'128': [], 'full': []}
    for scan in scans(a.root, a.folders):
        slices = read(scan)[::a.every]
        low = min(x.min() for x in slices)
        ct = low < -200
        values = np.concatenate([x.ravel() for x in slices])
        first, last = np.percentile(values, [0.5, 99.5])
        for x in slices:
            for name, y in (('128', shrink(x, 128)), ('full', x)):
                step = 2 if name == '128' else 1
                q = np.rint(y / step) if ct else np.rint((y - first) * 4096 / (step * step) / (last - first))
                sizes[name].append(np.clip(q, -32768, 32767).astype(np.int16))
    for size, pictures in sizes.items():
        pixels = sum(x.size for x in pictures)
        print('\n%s: %d slices, %.0f pixels each\n' % (size, len(pictures), pixels / len(pictures)))
        print('| codec | bytes a slice | bits a pixel | encode, ms | decode, ms |\n|---|---|---|---|---|')
        for name, prepare, encode, decode in codecs():
            ready = [np.ascontiguousarray(r) if isinstance(r := prepare(x), np.ndarray) else r for x in pictures]
            start = time.process_time()
            coded = [encode(r) for r in ready]
            middle = time.process_time()
            for b, x in zip(coded, pictures):
                decode(b, x)
            end = time.process_time()
            n = sum(len(b) for b in coded)
            print('| %s | %.0f | %.2f | %.2f | %.2f |' % (name, n / len(coded), 8 * n / pixels, 1e3 * (middle - start) /
                                                        len(coded), 1e3 * (end - middle) / len(coded)))


if __name__ == '__main__':
    main()
