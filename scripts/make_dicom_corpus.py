#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small DICOM files, good and bad, that start the fuzzer and run as a plain test.

Usage: make_dicom_corpus.py [OUT_FOLDER]     (default tests/corpus/dicom); seeded.
Needs pydicom with pylibjpeg-openjpeg, and the programs dcmcjpeg, dcmcjpls and dcmcrle of DCMTK.
"""
import io
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
CT, ENHANCED_CT = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.2.1'
IMPLICIT, EXPLICIT, BIG, DEFLATED = ('1.2.840.10008.1.2' + s for s in ('', '.1', '.2', '.1.99'))
J2K, J2K_LOSSY = '1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.91'


def dataset(bits=16, stored=12, signed=False, n_frames=1, rows=12, cols=10):
    rng = np.random.default_rng(7)
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID, d.SeriesInstanceUID, d.StudyInstanceUID = CT, '2.25.1', '2.25.2', '2.25.3'
    d.Modality, d.PatientAge, d.PatientID, d.ImageType = 'CT', '045Y', 'A', ['ORIGINAL', 'PRIMARY', 'AXIAL']
    d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing = [-5, -6, 7], [1, 0, 0, 0, 1, 0], [1.5, 1]
    d.SliceThickness, d.RescaleSlope, d.RescaleIntercept, d.RescaleType = 3, 1, -1024, 'HU'
    d.SamplesPerPixel, d.PhotometricInterpretation, d.Rows, d.Columns = 1, 'MONOCHROME2', rows, cols
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = bits, stored, stored - 1, int(signed)
    low = -(1 << (stored - 1)) if signed else 0
    smooth = np.add.outer(np.arange(rows), np.arange(cols)) * ((1 << stored) // (rows + cols) // 2)
    v = low + smooth[None] + rng.integers(0, 1 << (stored - 3), (n_frames, rows, cols))
    d.PixelData = v.astype(f'<{"i" if signed else "u"}{bits // 8}').tobytes()
    d['PixelData'].VR = 'OW' if bits > 8 else 'OB'
    return d


def enhanced(n_frames=3):
    d = dataset(n_frames=n_frames)
    d.SOPClassUID, d.NumberOfFrames = ENHANCED_CT, n_frames
    shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = d.PixelSpacing, d.SliceThickness
    orientation.ImageOrientationPatient = d.ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, 'HU'
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    frames = []
    for i in range(n_frames):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-5, -6, 7 + 2 * i]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    for name in ('ImagePositionPatient', 'ImageOrientationPatient', 'PixelSpacing', 'SliceThickness', 'RescaleSlope',
                 'RescaleIntercept', 'RescaleType'):
        delattr(d, name)
    return d


def encode(d, syntax=EXPLICIT, preamble=True):
    d.file_meta = FileMetaDataset()
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, '2.25.1'
    d.file_meta.TransferSyntaxUID, d.file_meta.ImplementationClassUID = syntax, '2.25.4'
    if syntax == BIG:
        d.PixelData = np.frombuffer(d.PixelData, '<u2').astype('>u2').tobytes()
    if preamble:
        out = io.BytesIO()
        pydicom.dcmwrite(out, d, enforce_file_format=True)
    else:
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, syntax == IMPLICIT
        write_dataset(out, d)
    return out.getvalue()


def dcmtk(data, *command):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'in'), os.path.join(folder, 'out')
        with open(source, 'wb') as f:
            f.write(data)
        subprocess.run([*command, source, target], check=True, capture_output=True)
        with open(target, 'rb') as f:
            return f.read()


def element(group, number, vr, value):
    long_form = vr in ('OB', 'OW', 'SQ', 'UN')
    head = struct.pack('<HH', group, number) + vr.encode()
    return head + (struct.pack('<HI', 0, len(value)) if long_form else struct.pack('<H', len(value))) + value


def nested(depth):
    """A sequence of undefined length inside another, `depth` times, never closed."""
    return b''.join(struct.pack('<HH2sHI', 0x0040, 0xA730, b'SQ', 0, 0xFFFFFFFF) +
                    struct.pack('<HHI', 0xFFFE, 0xE000, 0xFFFFFFFF) for _ in range(depth))


def j2k(d, syntax):
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = EXPLICIT
    d.compress(syntax, generate_instance_uid=False, **({'j2k_cr': [4]} if syntax == J2K_LOSSY else {}))
    return encode(d, syntax)


def corpus():
    plain = encode(dataset())
    yield 'implicit', encode(dataset(), IMPLICIT)
    yield 'explicit', plain
    yield 'big_endian', encode(dataset(), BIG)
    yield 'deflated', encode(dataset(), DEFLATED)
    yield 'no_preamble', encode(dataset(), EXPLICIT, preamble=False)
    yield 'no_preamble_implicit', encode(dataset(), IMPLICIT, preamble=False)
    yield 'bits8', encode(dataset(8, 8))
    yield 'bits32', encode(dataset(32, 20, True))
    yield 'signed', encode(dataset(16, 12, True))
    yield 'enhanced', encode(enhanced())
    yield 'enhanced_rle', dcmtk(encode(enhanced()), 'dcmcrle')
    yield 'enhanced_jpeg', dcmtk(encode(enhanced()), 'dcmcjpeg', '+e1', '+ff')
    yield 'rle', dcmtk(plain, 'dcmcrle')
    yield 'rle_fragments', dcmtk(encode(dataset(rows=40, cols=60)), 'dcmcrle', '+fs', '1')
    yield 'jpeg_50', dcmtk(encode(dataset(8, 8)), 'dcmcjpeg', '+eb', '+un')
    yield 'jpeg_51', dcmtk(plain, 'dcmcjpeg', '+ee', '+un')
    yield 'jpeg_57', dcmtk(plain, 'dcmcjpeg', '+el')
    yield 'jpeg_70', dcmtk(plain, 'dcmcjpeg', '+e1')
    yield 'jpegls_80', dcmtk(plain, 'dcmcjpls', '+el')
    yield 'jpegls_81', dcmtk(plain, 'dcmcjpls', '+en', '+un')
    yield 'j2k_90', j2k(dataset(rows=40, cols=36), J2K)
    yield 'j2k_91', j2k(dataset(8, 8, rows=40, cols=36), J2K_LOSSY)
    text = dataset()
    text.SpecificCharacterSet, text.SeriesDescription = 'ISO_IR 100', 'Sch\u00e4del'
    yield 'latin1', encode(text)
    text = dataset()
    text.SpecificCharacterSet = ['', 'ISO 2022 IR 87']
    text.SeriesDescription = '\u982d\u90e8'
    yield 'iso2022', encode(text)
    # Bad ones
    yield 'bad_cut', plain[:-60]
    yield 'bad_nested', plain[:-252] + nested(3000)
    yield 'bad_length', plain.replace(element(0x0010, 0x1010, 'AS', b'045Y'),
                                      element(0x0010, 0x1010, 'UN', b'')[:8] + b'\xff\xff\xff\x7f' + b'045Y')
    wrong = dataset()
    wrong.Rows = 4000
    yield 'bad_rows', encode(wrong)
    jpeg = dcmtk(plain, 'dcmcjpeg', '+e1')
    yield 'bad_jpeg_rows', jpeg.replace(b'\xff\xc3\x00\x0b\x10\x00\x0c', b'\xff\xc3\x00\x0b\x10\x40\x00')
    yield 'bad_jpeg_marker', jpeg.replace(b'\xff\xd8\xff\xe0', b'\xff\xd8\xff\x01')
    yield 'bad_syntax', jpeg.replace(b'1.2.840.10008.1.2.4.70', b'1.2.840.10008.1.2.4.66')


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, '..', 'tests', 'corpus', 'dicom')
    os.makedirs(folder, exist_ok=True)
    for name, data in corpus():
        with open(os.path.join(folder, name + '.dcm'), 'wb') as f:
            f.write(data)


main()
