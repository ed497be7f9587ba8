# SPDX-License-Identifier: Apache-2.0
"""Volumes and their pictures through the service: every pixel against numpy, nibabel and pydicom; what is kept, what is
gone, what is cached; uploads; bad requests."""
import gzip
import io
import json
import shutil
import threading
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest
from cli_help import ok, ok_json, save_dicom
from PIL import Image
from service import Api
from voxels import blobs, shrunk

SEED = 20261128


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """A CT of more than 128 pixels, an MR, and a DICOM series; -> folder, pictures by id."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp('scans')
    pictures = {}
    for name, shape, low, high in [('ct', (260, 220, 8), -1000, 1500), ('mr', (60, 50, 6), 0, 900)]:
        voxels = np.clip(np.rint(blobs(rng, shape, low, high)), low, high).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), folder / f'{name}.nii.gz')
        pictures[name] = np.transpose(voxels, (2, 1, 0)).astype(float)
    body = np.clip(np.rint(blobs(rng, (40, 32, 6), -1000, 1500)), -1000, 1500)
    uid = save_dicom(folder / 'series', body.astype(np.int16), 'series1')
    slices = sorted((pydicom.dcmread(f) for f in (folder / 'series').iterdir()),
                    key=lambda d: float(d.ImagePositionPatient[2]))
    pictures[slices[0].SeriesInstanceUID] = np.stack(
        [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in slices])
    return folder, pictures, slices


@pytest.fixture(scope='module')
def archive(scans, tmp_path_factory):
    path = tmp_path_factory.mktemp('archive') / 'a'
    ok('add', path, scans[0], '-q')
    return path


@pytest.fixture(scope='module')
def service(archive):
    with Api(archive) as s:
        yield s


def grey(answer):
    assert answer.status == 200, answer.body
    assert answer.headers['Content-Type'] == 'image/png'
    image = Image.open(io.BytesIO(answer.body))
    assert image.mode == 'L'
    return np.asarray(image).astype(float)


def check(shown, picture, centre, width, slack=0.0):
    want = 255 * np.clip((shrunk(picture, *shown.shape) - (centre - width / 2)) / width, 0, 1)
    assert np.abs(shown - want).max() <= 0.52 + slack


def test_list_and_object(service, archive, scans):
    listed = ok_json('list', archive)['Volumes']
    for v in listed:
        v.pop('Path')
    got = service.get('/volumes').json
    assert got == {'Total': 3, 'Offset': 0, 'Volumes': listed}
    assert service.get('/volumes?offset=1&limit=1').json == {'Total': 3, 'Offset': 1, 'Volumes': listed[1:2]}
    assert service.get('/volumes?offset=7').json == {'Total': 3, 'Offset': 7, 'Volumes': []}
    assert [v['VolumeId'] for v in service.get('/volumes?where=Modality%20%3D%20%27CT%27%20and%20Slices%20%3E%207').json[
        'Volumes']] == ['ct']
    assert service.get('/volumes?where=nonsense').status == 400
    for v in listed:
        answer = service.get(f'/volumes/{v["VolumeId"]}')
        o = answer.json
        shown = ok_json('show', archive, v['VolumeId'])
        shown.pop('Path')
        assert {k: o[k] for k in shown} == shown
        assert o['SliceUids'] == shown['SOPInstanceUIDs'] and len(o['SliceMarks']) == shown['Slices']
        assert (o['Rows'], o['Columns']) == scans[1][v['VolumeId']].shape[1:] and o['Pixels'] == 'source'
        again = service.get(f'/volumes/{v["VolumeId"]}', If_None_Match=answer.headers['ETag'])
        assert again.status == 304 and again.body == b''
    assert service.get('/volumes/nope').status == 404


def test_slices_are_the_voxels(service, scans):
    for name, pictures in scans[1].items():
        o = service.get(f'/volumes/{name}').json
        hu = o['HasHU']
        low, high = pictures.min(), pictures.max()
        windows = [(None, o['WindowDefault']), ('centre=-600&width=1500', {'Centre': -600, 'Width': 1500}),
                   (f'centre={(low + high) / 2}&width={high - low}', {'Centre': (low + high) / 2, 'Width': high - low})]
        assert not hu or o['WindowDefault'] == {'Centre': 40.0, 'Width': 400.0}
        assert hu or o['WindowDefault'] == {'Centre': (o['ValueLow'] + o['ValueHigh']) / 2,
                                            'Width': o['ValueHigh'] - o['ValueLow']}
        for k in range(len(pictures)):
            for query, w in windows:
                answer = service.get(f'/volumes/{name}/slices/{k}.png?{query or ""}')
                shown = grey(answer)
                assert shown.shape == pictures[k].shape and answer.headers['X-Cmir-Pixels'] == 'source'
                check(shown, pictures[k], w['Centre'], w['Width'])
        shown = grey(service.get(f'/volumes/{name}/slices/1.png?side=200&centre=0&width=2000'))
        assert max(shown.shape) == min(200, max(pictures.shape[1:]))
        check(shown, pictures[1], 0, 2000)


def test_thumbnails_are_of_previews(service, scans):
    for name, pictures in scans[1].items():
        o = service.get(f'/volumes/{name}').json
        step = 2 if o['HasHU'] else (o['ValueHigh'] - o['ValueLow']) / 1024
        answer = service.get(f'/volumes/{name}/thumbnail.png')
        shown = grey(answer)
        assert max(shown.shape) == min(128, max(pictures.shape[1:])) and answer.headers['X-Cmir-Pixels'] == 'preview'
        w = o['WindowDefault']
        check(shown, pictures[len(pictures) // 2], w['Centre'], w['Width'], slack=255 * step / 2 / w['Width'])
        shown = grey(service.get(f'/volumes/{name}/thumbnail.png?slice=0&centre=0&width=2000'))
        check(shown, pictures[0], 0, 2000, slack=255 * step / 2 / 2000)


def test_caching(service):
    version = service.get('/volumes/ct').json['Version']
    plain = service.get('/volumes/ct/slices/3.png')
    assert 'immutable' not in plain.headers['Cache-Control'] and 'no-cache' in plain.headers['Cache-Control']
    for_ever = service.get(f'/volumes/ct/slices/3.png?v={version}')
    assert 'immutable' in for_ever.headers['Cache-Control'] and for_ever.body == plain.body
    assert 'immutable' not in service.get('/volumes/ct/slices/3.png?v=other').headers['Cache-Control']
    assert service.get('/volumes/ct/slices/3.png', If_None_Match=plain.headers['ETag']).status == 304
    assert service.get('/volumes/ct/slices/4.png', If_None_Match=plain.headers['ETag']).status == 200
    tags = {service.get(f'/volumes/ct/slices/3.png?{q}').headers['ETag'] for q in
            ('', 'side=64', 'side=65', 'centre=1&width=2', 'centre=1&width=3')}
    assert len(tags) == 5


@pytest.mark.parametrize('path, status', [
    ('/volumes/ct/slices/8.png', 404), ('/volumes/ct/slices/-1.png', 404), ('/volumes/ct/slices/1e3.png', 404),
    ('/volumes/ct/slices/99999999999999999999.png', 404), ('/volumes/ct/slices/.png', 404),
    ('/volumes/nope/slices/0.png', 404), ('/volumes/nope/thumbnail.png', 404), ('/volumes/nope/volume.nii.gz', 404),
    ('/volumes/ct/thumbnail.png?slice=8', 404), ('/volumes/ct/slices/0.png?centre=3', 400),
    ('/volumes/ct/slices/0.png?width=3', 400), ('/volumes/ct/slices/0.png?centre=3&width=0', 400),
    ('/volumes/ct/slices/0.png?centre=3&width=-1', 400), ('/volumes/ct/slices/0.png?centre=nan&width=3', 400),
    ('/volumes/ct/slices/0.png?centre=3&width=inf', 400), ('/volumes/ct/slices/0.png?side=0', 400),
    ('/volumes/ct/slices/0.png?side=100000', 400), ('/volumes/ct/slices/0.png?side=x', 400),
    ('/volumes/ct/volume.nii.gz?side=0', 400), ('/volumes/ct/volume.nii.gz?side=513', 400), ('/volumes?limit=0', 400), ('/volumes?limit=501', 400),
    ('/volumes?offset=-1', 400), ('/uploads/nope/volumes/ct/slices/0.png', 404), ('/uploads/nope/volumes/ct', 404)])
def test_bad_requests(service, path, status):
    answer = service.get(path)
    assert answer.status == status and answer.json['HttpStatus'] == status and answer.json['Message']


def test_nifti(service, scans):
    answer = service.get('/volumes/ct/volume.nii.gz?side=130')
    image = nib.Nifti1Image.from_bytes(gzip.decompress(answer.body))
    got, want = np.asarray(image.dataobj), scans[1]['ct']
    assert got.shape == (130, 110, 8) and answer.headers['X-Cmir-Pixels'] == 'source'
    for k in range(8):
        assert np.abs(got[:, :, k].T - shrunk(want[k], 110, 130)).max() <= 0.51
    np.testing.assert_allclose(image.affine[:3, :3], np.diag([-2, -2, 3]), atol=1e-4)


def test_many_ask_for_a_cold_volume_at_once(archive, scans, tmp_path):
    with Api(archive, '--state', tmp_path / 'state') as s:
        answers = [None] * 16

        def ask(i):
            answers[i] = s.get(f'/volumes/ct/slices/{i % 8}.png?centre=0&width=2000')
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for i, answer in enumerate(answers):
            check(grey(answer), scans[1]['ct'][i % 8], 0, 2000)


def test_scans_that_are_gone(scans, tmp_path):
    """Small previews are shown in their place; where there are none, 404; another scan in its place is not shown."""
    folder = tmp_path / 'scans'
    shutil.copytree(scans[0], folder)
    for kind in ('small', 'none', 'full'):
        ok('add', tmp_path / kind, folder, '-q', '--previews', kind)
    for kind in ('small', 'none', 'full'):
        (folder / 'ct.nii.gz').unlink(missing_ok=True)
        with Api(tmp_path / kind) as s:
            answer = s.get('/volumes/ct/slices/2.png?centre=0&width=2000')
            expected = s.get('/volumes/ct').json['Pixels']
            if kind == 'none':
                assert answer.status == 404 and 'no pixels' in answer.json['Message'] and expected == 'none'
                assert s.get('/volumes/ct/thumbnail.png').status == 404
                assert grey(s.get('/volumes/mr/thumbnail.png')).size
            else:
                shown = grey(answer)
                assert answer.headers['X-Cmir-Pixels'] == expected == 'preview'
                assert max(shown.shape) == (128 if kind == 'small' else 260)
                check(shown, scans[1]['ct'][2], 0, 2000, slack=255 / 2000)
                version = s.get('/volumes/ct').json['Version']
                fallback = s.get(f'/volumes/ct/slices/2.png?v={version}').headers['Cache-Control']
                assert ('immutable' in fallback) == (kind == 'full')
            other = nib.load(folder / 'mr.nii.gz')
            nib.save(other, folder / 'ct.nii.gz')
        with Api(tmp_path / kind) as s:
            answer = s.get('/volumes/ct/slices/2.png')
            assert answer.status == (404 if kind == 'none' else 200)
            assert kind == 'none' or answer.headers['X-Cmir-Pixels'] == 'preview'


def test_removed_and_replaced(scans, tmp_path):
    """What was removed is gone at once; what has its id now is shown as it is."""
    path = tmp_path / 'a'
    folder = tmp_path / 'scans'
    folder.mkdir()
    shutil.copy(scans[0] / 'ct.nii.gz', folder)
    shutil.copy(scans[0] / 'mr.nii.gz', folder)
    ok('add', path, folder, '-q')
    with Api(path) as s:
        before = s.get('/volumes/ct/slices/1.png?centre=0&width=2000')
        assert s.delete('/volumes/ct').status == 204
        assert s.get('/volumes/ct/slices/1.png').status == 404 and s.get('/volumes/ct').status == 404
        assert s.delete('/volumes/ct').status == 404 and s.get('/volumes').json['Total'] == 1
        voxels = np.asarray(nib.load(folder / 'ct.nii.gz').dataobj)[:, :, ::-1]
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), folder / 'ct.nii.gz')
        time.sleep(1.1)  # versions tell seconds
        ok('add', path, folder / 'ct.nii.gz', '-q')
        after = s.get('/volumes/ct/slices/1.png?centre=0&width=2000', If_None_Match=before.headers['ETag'])
        check(grey(after), scans[1]['ct'][6], 0, 2000)
        what = [json.loads(line) for line in (path / 'service' / 'audit.jsonl').read_text().splitlines()]
        assert [e.get('Query') for e in what if e.get('What') == 'delete'] == ['ct', 'ct']


def test_uploads_are_shown_from_previews(service, scans, tmp_path):
    job = service.finish(service.send_files('/uploads', [scans[0] / 'ct.nii.gz']))
    assert job['State'] == 'done', job
    upload = job['Result']['UploadId']
    place = f'/uploads/{upload}/volumes/ct'
    o = service.get(place).json
    assert o['Pixels'] == 'preview' and (o['Rows'], o['Columns']) == (220, 260)
    answer = service.get(f'{place}/slices/3.png?centre=0&width=2000')
    assert answer.headers['X-Cmir-Pixels'] == 'preview'
    check(grey(answer), scans[1]['ct'][3], 0, 2000, slack=255 / 2000)
    assert max(grey(service.get(f'{place}/thumbnail.png')).shape) == 128
    assert service.get(f'{place}/volume.nii.gz').status == 200
    assert service.get(f'{place}/slices/8.png').status == 404
    assert service.delete(f'/uploads/{upload}').status == 204
    assert service.get(f'{place}/slices/3.png').status == 404 and service.get(place).status == 404


def test_slices_of_many_pixels(tmp_path):
    """Large slices are made one after the other, huge ones refused."""
    for name, side, n in (('large', 2200, 5), ('huge', 8300, 2)):
        voxels = np.zeros((side, side, n), np.uint8)
        voxels[:side // 2, :, :] = 200
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), tmp_path / f'{name}.nii')
    ok('add', tmp_path / 'a', tmp_path / 'large.nii', tmp_path / 'huge.nii', '--min-slices', 1, '-q')
    with Api(tmp_path / 'a') as s:
        answers = [None] * 5

        def ask(k):
            answers[k] = s.get(f'/volumes/large/slices/{k}.png?side=200&centre=100&width=400')
        threads = [threading.Thread(target=ask, args=(k,)) for k in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        want = np.zeros((200, 200)) + np.where(np.arange(200) < 100, 200, 0)
        for answer in answers:
            check(grey(answer), want, 100, 400)
        assert s.get('/volumes/huge/slices/0.png').status == 422
        assert s.get('/volumes/huge/volume.nii.gz').status == 422
        assert grey(s.get('/volumes/huge/thumbnail.png')).shape == (128, 128)
