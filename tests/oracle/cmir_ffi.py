# SPDX-License-Identifier: Apache-2.0
"""libcmir through ctypes, for the oracle tests of the readers: just what they need of include/cmir/volume.h.

    volume = cmir_ffi.read(path, modality='CT')     scan + open + load; raises cmir_ffi.Error
    volume.info['volume_id'], volume.affine (3 x 4, LPS mm), volume.dims
    volume.stack('coronal')                         dict of cmir_stack
    volume.slices('coronal')                        float32 [n_slices, rows, cols]
    volume.mm('axial'), volume.uids('axial')        per slice
    volume.warnings                                 list of sentences
    cmir_ffi.scan([path, ...])                      list of Item(state, volume_id, path, n_files, reason)
    with cmir_ffi.Scan([path, ...]) as s:           s.items, s.open(index, load=True)

The library: environment CMIR_LIB, else libcmir.so beside the program named by CMIR, else build/libcmir.so.
"""
import collections
import ctypes as c
import os

import numpy as np

PLANES = {'axial': 0, 'coronal': 1, 'sagittal': 2}
STATES = {0: 'volume', 1: 'refused', 2: 'skipped'}
STATUS = ['OK', 'EINVAL', 'EIO', 'ENOMEM', 'ECORRUPT', 'EUNSUPPORTED', 'ENOTFOUND', 'EEXIST', 'ELIMIT', 'EBUSY',
          'EMISMATCH', 'ECANCELLED']
Item = collections.namedtuple('Item', 'state volume_id path n_files reason code')


def shared_data():
    """Folder of real data, or None (tests then skip aloud)."""
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.environ.get('CMIR_SHARED') or os.path.join(here, '..', '..', '..', 'shared')
    data = os.path.join(folder, 'data')
    return os.path.realpath(data) if os.path.isdir(data) else None


def library_path():
    if os.environ.get('CMIR_LIB'):
        return os.environ['CMIR_LIB']
    if os.environ.get('CMIR'):
        return os.path.join(os.path.dirname(os.environ['CMIR']), 'libcmir.so')
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'build', 'libcmir.so')


class CError(c.Structure):
    _fields_ = [('code', c.c_int), ('line', c.c_uint32), ('offset', c.c_uint64), ('msg', c.c_char * 240)]


class CInfo(c.Structure):
    _fields_ = [(name, c.c_char_p) for name in (
        'volume_id', 'path', 'format', 'modality', 'series_uid', 'study_uid', 'patient_id', 'patient_sex',
        'study_date', 'body_part', 'manufacturer', 'description')] + [
        ('patient_age', c.c_double), ('dims', c.c_uint32 * 3), ('affine', (c.c_double * 4) * 3), ('has_hu', c.c_bool),
        ('value_low', c.c_double), ('value_high', c.c_double)]


class CScanOptions(c.Structure):
    _fields_ = [('struct_nbytes', c.c_size_t), ('min_slices', c.c_uint32), ('frame', c.c_uint32),
                ('modality', c.c_char_p), ('volume_id', c.c_char_p), ('progress', c.c_void_p),
                ('progress_ctx', c.c_void_p)]


class CScanItem(c.Structure):
    _fields_ = [('state', c.c_int), ('volume_id', c.c_char_p), ('path', c.c_char_p), ('n_files', c.c_uint32),
                ('reason', CError)]


class CStack(c.Structure):
    _fields_ = [('n_slices', c.c_uint32), ('rows', c.c_uint32), ('cols', c.c_uint32), ('row_spacing_mm', c.c_double),
                ('col_spacing_mm', c.c_double), ('slice_spacing_mm', c.c_double), ('native', c.c_bool)]


class Error(Exception):
    def __init__(self, err):
        self.code, self.message = STATUS[err.code], err.msg.decode()
        super().__init__(f'{self.code}: {self.message}')


def _load():
    lib = c.CDLL(library_path())
    err, ptr = c.POINTER(CError), c.c_void_p
    signatures = {
        'cmir_scan_open': (c.c_int, [c.POINTER(c.c_char_p), c.c_size_t, c.POINTER(CScanOptions), c.POINTER(ptr), err]),
        'cmir_scan_close': (None, [ptr]),
        'cmir_scan_count': (c.c_size_t, [ptr]),
        'cmir_scan_get': (c.POINTER(CScanItem), [ptr, c.c_size_t]),
        'cmir_volume_open': (c.c_int, [ptr, c.c_size_t, c.POINTER(ptr), err]),
        'cmir_volume_load': (c.c_int, [ptr, ptr, ptr, err]),
        'cmir_volume_read': (c.c_int, [c.c_char_p, c.POINTER(CScanOptions), c.POINTER(ptr), err]),
        'cmir_volume_close': (None, [ptr]),
        'cmir_volume_get_info': (c.POINTER(CInfo), [ptr]),
        'cmir_volume_warning': (c.c_char_p, [ptr, c.c_size_t]),
        'cmir_volume_stack': (c.c_int, [ptr, c.c_int, c.POINTER(CStack), err]),
        'cmir_volume_slice': (c.c_int, [ptr, c.c_int, c.c_uint32, ptr, err]),
        'cmir_volume_slice_mm': (c.c_double, [ptr, c.c_int, c.c_uint32]),
        'cmir_volume_slice_uid': (c.c_char_p, [ptr, c.c_int, c.c_uint32]),
        'cmir_nifti_write': (c.c_int, [c.c_char_p, ptr, c.POINTER(c.c_uint32), c.POINTER(c.c_double), err]),
    }
    for name, (result, arguments) in signatures.items():
        if hasattr(lib, name):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    return lib


LIB = _load()


def _call(function, *arguments):
    err = CError()
    if function(*arguments, c.byref(err)) != 0:
        raise Error(err)


def _options(min_slices=0, frame=0, modality=None, volume_id=None):
    encode = lambda s: None if s is None else s.encode()
    return CScanOptions(c.sizeof(CScanOptions), min_slices, frame, encode(modality), encode(volume_id), None, None)


class Volume:
    def __init__(self, handle):
        self._handle = handle

    def __del__(self):
        if self._handle:
            LIB.cmir_volume_close(self._handle)
            self._handle = None

    def load(self):
        _call(LIB.cmir_volume_load, self._handle, None, None)
        return self

    @property
    def info(self):
        raw = LIB.cmir_volume_get_info(self._handle).contents
        return {name: value.decode() if isinstance(value := getattr(raw, name), bytes) else value
                for name, _ in CInfo._fields_ if name not in ('dims', 'affine')}

    @property
    def dims(self):
        return tuple(LIB.cmir_volume_get_info(self._handle).contents.dims)

    @property
    def affine(self):
        return np.array(LIB.cmir_volume_get_info(self._handle).contents.affine)

    @property
    def warnings(self):
        found = []
        while (sentence := LIB.cmir_volume_warning(self._handle, len(found))) is not None:
            found.append(sentence.decode())
        return found

    def stack(self, plane='axial'):
        raw = CStack()
        _call(LIB.cmir_volume_stack, self._handle, PLANES[plane], c.byref(raw))
        return {name: getattr(raw, name) for name, _ in CStack._fields_}

    def slice(self, index, plane='axial'):
        stack = self.stack(plane)
        out = np.full((stack['rows'], stack['cols']), np.nan, np.float32)
        _call(LIB.cmir_volume_slice, self._handle, PLANES[plane], index, out.ctypes.data)
        return out

    def slices(self, plane='axial'):
        return np.stack([self.slice(k, plane) for k in range(self.stack(plane)['n_slices'])])

    def mm(self, plane='axial'):
        n = self.stack(plane)['n_slices']
        return np.array([LIB.cmir_volume_slice_mm(self._handle, PLANES[plane], k) for k in range(n)])

    def uids(self, plane='axial'):
        n = self.stack(plane)['n_slices']
        return [LIB.cmir_volume_slice_uid(self._handle, PLANES[plane], k).decode() for k in range(n)]


def read(path, **options):
    handle = c.c_void_p()
    _call(LIB.cmir_volume_read, os.fsencode(path), c.byref(_options(**options)), c.byref(handle))
    return Volume(handle.value)


class Scan:
    def __init__(self, paths, **options):
        names = [os.fsencode(p) for p in paths]
        handle = c.c_void_p()
        _call(LIB.cmir_scan_open, (c.c_char_p * len(names))(*names), len(names), c.byref(_options(**options)),
              c.byref(handle))
        self._handle = handle.value
        self.items = []
        for i in range(LIB.cmir_scan_count(self._handle)):
            raw = LIB.cmir_scan_get(self._handle, i).contents
            self.items.append(Item(STATES[raw.state], raw.volume_id.decode(), os.fsdecode(raw.path), raw.n_files,
                                   raw.reason.msg.decode(), STATUS[raw.reason.code]))

    def open(self, index, load=True):
        handle = c.c_void_p()
        _call(LIB.cmir_volume_open, self._handle, index, c.byref(handle))
        volume = Volume(handle.value)
        return volume.load() if load else volume

    def close(self):
        if self._handle:
            LIB.cmir_scan_close(self._handle)
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def scan(paths, **options):
    with Scan(paths, **options) as found:
        return found.items


def nifti_write(path, voxels, affine_lps):
    """voxels: int16 array indexed [i, j, k]."""
    data = np.asfortranarray(voxels, np.int16)
    affine = np.ascontiguousarray(affine_lps, np.float64)
    _call(LIB.cmir_nifti_write, os.fsencode(path), data.ctypes.data, (c.c_uint32 * 3)(*data.shape),
          affine.ctypes.data_as(c.POINTER(c.c_double)))
