# SPDX-License-Identifier: Apache-2.0
"""Encoders of libcmir through ctypes, for the oracle tests (include/cmir/encoder.h).

    encoder = encoder_ffi.Encoder('builtin')        or a card's path; raises cmir_ffi.Error
    encoder.info['name'], encoder.describe()
    rows, marks = encoder.encode(volume, 'axial')   float32 [n_slices, dim], uint8 [n_slices]
"""
import ctypes as c
import os

import cmir_ffi
import numpy as np
from cmir_ffi import LIB, PLANES, CError, _call


class COptions(c.Structure):
    _fields_ = [('struct_nbytes', c.c_size_t), ('onnxruntime_path', c.c_char_p), ('n_threads', c.c_uint32)]


class CInfo(c.Structure):
    _fields_ = [(name, c.c_char_p) for name in ('name', 'version', 'licence', 'sha256', 'card_json', 'card_path')] + [
        ('dim', c.c_uint32)]


class CEmbeddings(c.Structure):
    _fields_ = [('rows', c.POINTER(c.c_float)), ('marks', c.POINTER(c.c_uint8)), ('n_slices', c.c_uint32),
                ('dim', c.c_uint32)]


PROGRESS = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint64)


def _declare():
    err, ptr = c.POINTER(CError), c.c_void_p
    for name, result, arguments in (
            ('cmir_encoder_open', c.c_int, [c.c_char_p, c.POINTER(COptions), c.POINTER(ptr), err]),
            ('cmir_encoder_close', None, [ptr]),
            ('cmir_encoder_get_info', c.POINTER(CInfo), [ptr]),
            ('cmir_encoder_describe', c.c_int, [ptr, c.POINTER(ptr), err]),
            ('cmir_encode', c.c_int, [ptr, ptr, c.c_int, PROGRESS, ptr, c.POINTER(CEmbeddings), err]),
            ('cmir_embeddings_free', None, [c.POINTER(CEmbeddings)]),
            ('cmir_free', None, [ptr])):
        function = getattr(LIB, name)
        function.restype, function.argtypes = result, arguments


_declare()


def runtime():
    """ONNX Runtime's library: beside the library under test, else in the wheel of this Python; None if neither."""
    beside = os.path.join(os.path.dirname(cmir_ffi.library_path()), 'libonnxruntime.so.1')
    if os.path.exists(beside):
        return beside
    try:
        import onnxruntime
    except ImportError:
        return None
    folder = os.path.join(os.path.dirname(onnxruntime.__file__), 'capi')
    found = sorted(f for f in os.listdir(folder) if f.startswith('libonnxruntime.so.1'))
    return os.path.join(folder, found[0]) if found else None


class Encoder:
    def __init__(self, card, n_threads=0, onnxruntime=None):
        self._handle = None
        path = onnxruntime or (None if card == 'builtin' else runtime())
        options = COptions(c.sizeof(COptions), path.encode() if path else None, n_threads)
        handle = c.c_void_p()
        _call(LIB.cmir_encoder_open, os.fsencode(card), c.byref(options), c.byref(handle))
        self._handle = handle.value

    def __del__(self):
        if self._handle:
            LIB.cmir_encoder_close(self._handle)
            self._handle = None

    @property
    def info(self):
        raw = LIB.cmir_encoder_get_info(self._handle).contents
        return {name: value.decode() if isinstance(value := getattr(raw, name), bytes) else value
                for name, _ in CInfo._fields_}

    def describe(self):
        text = c.c_void_p()
        _call(LIB.cmir_encoder_describe, self._handle, c.byref(text))
        try:
            return c.string_at(text).decode()
        finally:
            LIB.cmir_free(text)

    def encode(self, volume, plane='axial', progress=None):
        """`progress(done, total)` returns a true value to stop."""
        out = CEmbeddings()
        call = PROGRESS(lambda _, done, total: int(bool(progress(done, total)))) if progress else PROGRESS()
        _call(LIB.cmir_encode, self._handle, volume._handle, PLANES[plane], call, None, c.byref(out))
        try:
            rows = np.ctypeslib.as_array(out.rows, (out.n_slices, out.dim)).copy()
            marks = np.ctypeslib.as_array(out.marks, (out.n_slices,)).copy()
        finally:
            LIB.cmir_embeddings_free(c.byref(out))
        return rows, marks
