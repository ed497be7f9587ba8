# SPDX-License-Identifier: Apache-2.0
"""Encoders against numpy, Pillow and Python's onnxruntime on the same pixels; cards and models that must be refused."""
import copy
import glob
import hashlib
import json
import os
import re

import cmir_ffi
import encoder_ffi
import nibabel
import numpy as np
import onnx_bytes
import pytest
from scipy import ndimage

SEED = 20250131
WINDOWS = [{'centre': -600, 'width': 1500}, {'centre': 40, 'width': 400}, {'centre': 500, 'width': 2000}]


# ---- volumes

def body(shape, seed, air=()):
    """CT-like values [k, j, i]: an oblique body with lungs, bone and noise in air; slices of `air` are empty."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing='ij')
    z, y, x = k / shape[0], j / shape[1] - 0.45 - 0.05 * np.sin(k / 3), i / shape[2] - 0.55
    v = np.full(shape, -1000.0)
    v[(y / 0.35) ** 2 + (x / 0.4) ** 2 < 1 + 0.2 * z] = 45
    v[(y / 0.2) ** 2 + ((abs(x) - 0.17) / 0.12) ** 2 < 1 - z] = -830
    v[((y - 0.22) / 0.06) ** 2 + (x / 0.05) ** 2 < 1] = 500
    v = ndimage.gaussian_filter(v, (0, 1, 1)) + np.random.default_rng(seed).normal(0, 20, shape)
    for s in air:
        v[s] = -1000
    return np.round(v).clip(-1024, 3000).astype(np.int16)


def write(path, kji, spacing=(0.8, 0.8, 3.0)):
    """NIfTI whose axial pictures are kji[k] as they are: RAS affine with x and y reversed."""
    nibabel.save(nibabel.Nifti1Image(kji.transpose(2, 1, 0), np.diag([-spacing[0], -spacing[1], spacing[2], 1])), path)
    return str(path)


@pytest.fixture(scope='module')
def ct(tmp_path_factory):
    print('seed', SEED)
    kji = body((19, 150, 210), SEED, air=(0, 1, 18))
    return cmir_ffi.read(write(tmp_path_factory.mktemp('ct') / 'ct.nii.gz', kji, (0.8, 1.1, 3))), kji


@pytest.fixture(scope='module')
def mr(tmp_path_factory):
    kji = np.abs(body((7, 40, 56), SEED + 1)).astype(np.int16)
    return cmir_ffi.read(write(tmp_path_factory.mktemp('mr') / 'mr.nii', kji), modality='MR'), kji


def unloaded(path, **options):
    with cmir_ffi.Scan([path], **options) as found:
        return found.open(0, load=False)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def cosines(a, b):
    assert a.shape == b.shape
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    return (a.astype(float) * unit(b.astype(float))).sum(1)


# ---- numpy's own preprocessing

def area(n, n_out, low=0.0, high=None):
    """Matrix of box averages by differences of the integral, and the share of each cell that lies inside [0, n)."""
    high = n if high is None else high
    step = (high - low) / n_out
    centre = low + (np.arange(n_out) + 0.5) * step
    at = lambda x: np.clip(x[:, None] - np.arange(n), 0, 1)             # integral of each pixel up to x
    covered = lambda half: at(centre + half) - at(centre - half)
    w, inside = covered(max(step, 1) / 2), covered(step / 2).sum(1) / step
    w /= np.where(inside > 0, w.sum(1), np.inf)[:, None]
    return w, inside


def resized(picture, size, how):
    if how == 'area':
        return area(picture.shape[0], size[0])[0] @ picture @ area(picture.shape[1], size[1])[0].T
    image = pytest.importorskip('PIL.Image')
    filters = {'bilinear': image.Resampling.BILINEAR, 'bicubic': image.Resampling.BICUBIC}
    return np.asarray(image.fromarray(picture.astype(np.float32)).resize(size[::-1], filters[how]), float)


def prepared(card, kji, has_hu):
    """The model's input, float64 [k, ...] in the card's layout."""
    ins, n = card['input'], len(card['input']['mean'])
    low, high = np.percentile(kji, [0.5, 99.5])
    windows = card['windows'] * (n if len(card['windows']) == 1 else 1)
    out = []
    for w in windows if ins.get('colour_order', 'RGB') == 'RGB' else windows[::-1]:
        a, b = (w['centre'] - w['width'] / 2, w['centre'] + w['width'] / 2) if has_hu else (low, high)
        shown = np.clip((kji.astype(float) - a) / (b - a), 0, 1)
        out.append(np.stack([np.clip(resized(s, ins['size'], ins.get('resize', 'area')), 0, 1) for s in shown]))
    x = (np.stack(out, 3) - np.array(ins['mean'])) / np.array(ins['std'])
    return x if ins.get('layout') == 'NHWC' else x.transpose(0, 3, 1, 2)


# ---- the built-in encoder

EDGES, AIR, SIDE = [-700, -300, -120, -20, 40, 90, 200], -1024, 96


def builtin(kji, has_hu, row_mm, col_mm):
    """The built-in encoder of docs/encoders.md in float64."""
    low, high = np.percentile(kji, [0.5, 99.5])
    values = kji.astype(float) if has_hu else -1000 + 1250 * np.sqrt(np.clip((kji - low) / (high - low), 0, 1))
    return unit(np.stack([describe(np.clip(s, AIR, 1500), row_mm, col_mm) for s in values]))


def sample(s, top, bottom, left, right):
    (a, in_a), (b, in_b) = area(s.shape[0], SIDE, top, bottom), area(s.shape[1], SIDE, left, right)
    inside = np.outer(in_a, in_b)
    return inside * (a @ s @ b.T) + (1 - inside) * AIR


def pooled(maps, grid):
    """Weighted means under tents round the centres of grid x grid cells; the outer ones level off to the border."""
    at, peaks = (np.arange(SIDE) + 0.5) * grid / SIDE, np.arange(grid) + 0.5
    tents = np.stack([np.interp(at, peaks, row) for row in np.eye(grid)])
    tents /= tents.sum(1, keepdims=True)
    return np.einsum('gy,cyx,hx->cgh', tents, maps, tents).ravel()


def describe(s, row_mm, col_mm):
    rows, cols = s.shape
    body = 1 / (1 + np.exp(-(sample(s, 0, rows, 0, cols) + 300) / 30))
    if body.mean() < 0.005:
        y, x, half = rows / 2, cols / 2, max(rows * row_mm, cols * col_mm) / 2
    else:
        at = (np.arange(SIDE) + 0.5) / SIDE
        y, x = body.sum(1) @ at / body.sum() * rows, body.sum(0) @ at / body.sum() * cols
        half = 0.7 * np.sqrt(body.mean() * rows * row_mm * cols * col_mm)
    s = sample(s, y - half / row_mm, y + half / row_mm, x - half / col_mm, x + half / col_mm)
    above = [1 / (1 + np.exp(-(s - e) / 30)) for e in EDGES]
    ranges = np.stack([1 - above[0]] + [p - q for p, q in zip(above, above[1:])] + [above[-1]])
    smooth = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
    for axis in (0, 1):
        s = ndimage.correlate1d(np.tanh(s / 100) if axis == 0 else s, smooth, axis, mode='nearest')
    gy, gx = np.gradient(s)
    angle = np.arctan2(gy, gx) % (2 * np.pi) / (2 * np.pi) * 8
    edges = np.hypot(gx, gy) * np.stack([np.maximum(0, 1 - np.abs((angle - d + 4) % 8 - 4)) for d in range(8)])
    blocks = [(1, ranges, 2), (1.5, ranges, 4), (1, edges, 4), (1, edges, 6)]
    parts = [(weight, np.maximum(pooled(maps, grid), 0)) for weight, maps, grid in blocks]
    return np.concatenate([weight * np.sqrt(p / (p.sum() + 0.001)) for weight, p in parts])


def test_builtin_against_numpy(ct, mr):
    encoder = encoder_ffi.Encoder('builtin')
    for volume, kji, has_hu, mm in (*[(*ct, True, (1.1, 0.8))], *[(*mr, False, (0.8, 0.8))]):
        rows, _ = encoder.encode(volume)
        found = cosines(rows, builtin(kji, has_hu, *mm))
        assert found.min() >= 0.99999, found
    coronal, _ = encoder.encode(ct[0], 'coronal')
    found = cosines(coronal, builtin(ct[0].slices('coronal'), True, 3, 0.8))
    assert found.min() >= 0.99999, found


def test_builtin_against_numpy_on_real_scans():
    data = cmir_ffi.shared_data()
    if data is None:
        pytest.skip('no real data: CMIR_SHARED')
    encoder = encoder_ffi.Encoder('builtin')
    for path in sorted(glob.glob(data + '/ct/torso/*.nii.gz'))[:3] + sorted(glob.glob(data + '/ct/sts/*.nii.gz'))[:3]:
        volume = cmir_ffi.read(path)
        stack, pick = volume.stack(), slice(None, None, 5)
        rows, _ = encoder.encode(volume)
        want = builtin(volume.slices()[pick], True, stack['row_spacing_mm'], stack['col_spacing_mm'])
        assert cosines(rows[pick], want).min() >= 0.99999, path


def test_builtin_identity():
    info = encoder_ffi.Encoder('builtin').info
    card = json.loads(info['card_json'])
    assert (card['name'], card['version'], card['licence']) == ('builtin', '1', 'Apache-2.0')
    assert card['dim'] == info['dim'] and card['edges_hu'] == EDGES and info['card_path'] == ''
    assert info['card_json'] == json.dumps(card, sort_keys=True, separators=(',', ':'))
    assert card.pop('sha256') == info['sha256']
    bare = json.dumps(card, sort_keys=True, separators=(',', ':'))
    assert info['sha256'] == hashlib.sha256(bare.encode()).hexdigest()


def test_loading_threads_and_order_change_nothing(tmp_path):
    path = write(tmp_path / 'v.nii.gz', body((37, 64, 80), SEED + 2))
    want, marks = encoder_ffi.Encoder('builtin', n_threads=1).encode(cmir_ffi.read(path))
    for n_threads in (1, 2, 7):
        seen = []
        encoder = encoder_ffi.Encoder('builtin', n_threads=n_threads)
        rows, again = encoder.encode(unloaded(path), progress=lambda done, total: seen.append((done, total)))
        assert np.array_equal(rows, want) and np.array_equal(again, marks)
        assert seen == sorted(seen) and seen[-1] == (37, 37)
    mr_path = write(tmp_path / 'm.nii.gz', np.abs(body((9, 64, 80), SEED + 2)))
    a, _ = encoder.encode(unloaded(mr_path, modality='MR'), 'sagittal')
    b, _ = encoder.encode(cmir_ffi.read(mr_path, modality='MR'), 'sagittal')
    assert np.array_equal(a, b)


def test_cancel_and_broken_file_stop(tmp_path):
    path = write(tmp_path / 'v.nii.gz', body((64, 64, 64), SEED))
    encoder = encoder_ffi.Encoder('builtin')
    with pytest.raises(cmir_ffi.Error, match='ECANCELLED: .*v.nii.gz: cancelled'):
        encoder.encode(unloaded(path), progress=lambda done, total: True)
    whole = open(path, 'rb').read()
    cut = tmp_path / 'cut.nii.gz'
    cut.write_bytes(whole[:len(whole) * 2 // 3])
    with pytest.raises(cmir_ffi.Error, match='ECORRUPT: .*cut.nii.gz'):
        encoder.encode(unloaded(str(cut)))


# ---- air

def is_air(s, has_hu, row_mm, col_mm):
    """docs/decisions/air-slices.md: fewer than 0.5 % of the whole blocks of 10 mm are dense."""
    by, bx = (int(np.clip(np.floor(10 / mm + 0.5), 1, n)) for mm, n in zip((row_mm, col_mm), s.shape))
    h, w = s.shape[0] // by, s.shape[1] // bx
    means = np.clip(s, -1024, 1500)[:h * by, :w * bx].reshape(h, by, w, bx).mean((1, 3))
    return (means > (-200 if has_hu else 0.1)).mean() < 0.005


@pytest.mark.parametrize('spacing', [(0.7, 0.7), (0.9, 2.5), (7.0, 12.0)])
def test_air_slices_are_marked(tmp_path, spacing):
    rng = np.random.default_rng(SEED)
    kji = rng.normal(-1000, 8, (40, 160, 200))
    for k in range(40):                                # from nothing over a table and a finger to a body
        kji[k, 120:120 + k // 4, 10:190] = -150
        kji[k, 40:40 + 2 * k, 50:50 + 3 * k] = 30
    kji = kji.clip(-3024, 3000).round().astype(np.int16)
    encoder = encoder_ffi.Encoder('builtin')
    for modality in ('CT', 'MR'):
        values = kji if modality == 'CT' else kji + 1024
        _, marks = encoder.encode(cmir_ffi.read(write(tmp_path / 'v.nii', values, (*spacing, 2)), modality=modality))
        low, high = np.percentile(values, [0.5, 99.5])
        seen = values if modality == 'CT' else np.clip((values - low) / (high - low), 0, 1)
        want = [is_air(s.astype(float), modality == 'CT', *spacing[::-1]) for s in seen]
        assert 0 < sum(want) < 40 and list(marks) == want


def test_if_all_is_air_nothing_is_marked(tmp_path):
    encoder = encoder_ffi.Encoder('builtin')
    noise = np.random.default_rng(SEED).normal(-1000, 20, (6, 40, 40)).round().astype(np.int16)
    rows, marks = encoder.encode(cmir_ffi.read(write(tmp_path / 'air.nii', noise)))
    assert not marks.any() and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


# ---- ONNX models

def flat(shape=('N', 3, 8, 10)):
    """A model that gives its input back: what it embeds is what it was shown."""
    n = int(np.prod(shape[1:]))
    return onnx_bytes.model('pixels', list(shape), [('Flatten', ['pixels'], ['seen'], {'axis': 1})],
                            {'seen': [shape[0], n]}), n


def make_card(folder, model, **changes):
    """A good card for `model`, changed: 'input.size': value sets, ... : None deletes."""
    (folder / 'm.onnx').write_bytes(model)
    card = {'name': 'tiny', 'version': '1', 'licence': 'CC0-1.0', 'file': 'm.onnx', 'modality': ['CT'],
            'sha256': hashlib.sha256(model).hexdigest(), 'notes': 'made by a test', 'windows': copy.deepcopy(WINDOWS),
            'input': {'name': 'pixels', 'size': [8, 10], 'mean': [0.5, 0.4, 0.3], 'std': [0.25, 0.5, 1]},
            'output': {'embedding': 'seen', 'dim': 240}}
    for field, value in changes.items():
        *where, last = field.split('__')
        at = card
        for name in where:
            at = at[int(name) if name.isdigit() else name]
        if value is None:
            del at[last]
        else:
            at[last] = value
    path = folder / 'card.json'
    path.write_text(json.dumps(card))
    return str(path), card


needs_runtime = pytest.mark.skipif(encoder_ffi.runtime() is None, reason='no ONNX Runtime library')


@needs_runtime
@pytest.mark.parametrize('resize', ['area', 'bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(8, 10), (20, 66), (61, 22)])
def test_preprocessing_is_as_the_card_says(ct, mr, tmp_path, resize, size):
    model, n = flat(('N', 3, *size))
    path, card = make_card(tmp_path, model, input__size=list(size), input__resize=resize, output__dim=n)
    encoder = encoder_ffi.Encoder(path)
    for (volume, kji), has_hu in ((ct, True), (mr, False)):
        rows, _ = encoder.encode(volume)
        want = unit(prepared(card, kji, has_hu).reshape(len(kji), -1))
        assert np.abs(rows - want).max() < 2e-6


@needs_runtime
@pytest.mark.parametrize('changes', [
    {'input__layout': 'NHWC'}, {'input__colour_order': 'BGR'}, {'windows': WINDOWS[1:2]},
    {'input__layout': 'NHWC', 'input__colour_order': 'BGR'},
    {'input__mean': [0], 'input__std': [1], 'windows': WINDOWS[1:2]}], ids=str)
def test_layout_colours_and_windows(ct, tmp_path, changes):
    n_channels = len(changes.get('input__mean', '123'))
    shape = (8, 10, n_channels) if 'input__layout' in changes else (n_channels, 8, 10)
    model, n = flat(('N', *shape))
    path, card = make_card(tmp_path, model, output__dim=n, **changes)
    rows, _ = encoder_ffi.Encoder(path).encode(ct[0])
    want = prepared(card, ct[1], True).reshape(19, -1)
    blank = np.linalg.norm(want, axis=1) < 1e-6       # a window that shows nothing of a slice: the diagonal
    want[blank] = 1
    assert np.abs(rows - unit(want)).max() < 2e-6


@needs_runtime
@pytest.mark.parametrize('pooling, shape, pool', [
    ('mean', ['N', 3, 80], lambda x: x.reshape(-1, 3, 80).mean(1)),
    ('cls', ['N', 3, 80], lambda x: x.reshape(-1, 3, 80)[:, 0]),
    ('mean', ['N', 24, 2, 5], lambda x: x.reshape(-1, 24, 10).mean(2)),
    ('none', ['N', 240, 1, 1], lambda x: x.reshape(-1, 240))])
@pytest.mark.parametrize('batch', ['N', 1, 4])
def test_pooling_and_batches(ct, tmp_path, pooling, shape, pool, batch):
    nodes = [('Reshape', ['pixels', 'shape'], ['seen'], {})]
    model = onnx_bytes.model('pixels', [batch, 3, 8, 10], nodes, {'seen': [batch, *shape[1:]]},
                             {'shape': [0, *shape[1:]]} if len(shape) == 3 else {'shape': [-1, *shape[1:]]})
    dim = shape[2] if len(shape) == 3 else shape[1]
    path, card = make_card(tmp_path, model, output__dim=dim, output__pooling=pooling)
    rows, _ = encoder_ffi.Encoder(path).encode(ct[0])
    assert np.abs(rows - unit(pool(prepared(card, ct[1], True)))).max() < 2e-6


@needs_runtime
@pytest.mark.parametrize('name', ['mobilenet_v2_224', 'squeezenet_v1_0'])
def test_real_models_against_onnxruntime(name):
    data = cmir_ffi.shared_data()
    if data is None:
        pytest.skip('no real models: CMIR_SHARED')
    onnxruntime = pytest.importorskip('onnxruntime')
    path = f'{data}/models/{name}.json'
    card = json.load(open(path))
    session = onnxruntime.InferenceSession(path.replace('.json', '.onnx'))
    encoder = encoder_ffi.Encoder(path)
    for scan, modality in (('ct/torso/LIDC_0314.nii.gz', 'CT'), (min(glob.glob(data + '/mr/hippocampus/images/*.nii.gz')), 'MR')):
        source = os.path.join(data, scan)
        kji = np.asarray(nibabel.load(source).dataobj).T
        volume = cmir_ffi.read(source, modality=modality)
        pick = slice(None, None, 8)
        seen = np.stack([volume.slice(k) for k in range(len(kji))])
        assert np.array_equal(np.sort(seen[0], None), np.sort(kji[0], None))       # the same pixels, turned for viewing
        want = session.run([card['output']['embedding']],
                           {card['input']['name']: prepared(card, seen, modality == 'CT')[pick].astype(np.float32)})[0]
        rows, _ = encoder.encode(volume)
        found = cosines(rows[pick], want)
        assert found.min() >= 0.99999, found


@needs_runtime
def test_describe_and_identity(tmp_path):
    model, n = flat()
    path, card = make_card(tmp_path, model, input__resize='bicubic')
    encoder = encoder_ffi.Encoder(path)
    text, info = encoder.describe(), encoder.info
    for part in ('tiny', 'CC0-1.0', card['sha256'], 'pixels [N, 3, 8, 10]', 'bicubic', 'centre -600', 'width 1500',
                 'seen [N, 240]', 'ONNX Runtime', 'm.onnx', '240'):
        assert part in text, part
    assert info['card_path'] == path and info['dim'] == 240 and info['sha256'] == card['sha256']
    assert json.loads(info['card_json']) == card and list(json.loads(info['card_json'])) == sorted(card)


@needs_runtime
def test_useless_outputs_are_refused_or_defined(ct, tmp_path):
    def encoder(operator, **changes):
        nodes = [(operator, ['pixels', 'zero'][:1 + (operator == 'Mul')], ['y'], {}),
                 ('Flatten', ['y'], ['seen'], {'axis': 1})]
        model = onnx_bytes.model('pixels', ['N', 3, 8, 10], nodes, {'seen': ['N', 240]}, {'zero': 0.0})
        return encoder_ffi.Encoder(make_card(tmp_path, model, **changes)[0], n_threads=1)

    with pytest.raises(cmir_ffi.Error, match='ECORRUPT: encoder tiny gave values that are not finite for slice 0'):
        encoder('Log').encode(ct[0])
    with pytest.raises(cmir_ffi.Error, match='ECORRUPT: encoder tiny gave a vector of zeros for slice 2'):
        encoder('Mul').encode(ct[0])                   # slices 0 and 1 hold one value only
    rows, marks = encoder('Abs', input__mean=[0, 0, 0], windows=WINDOWS[2:]).encode(ct[0])
    assert np.allclose(rows[0], 240 ** -0.5) and marks[0] and not np.allclose(rows[5], 240 ** -0.5)


CARD_FAULTS = [
    ({'name': None}, 'name: is missing'), ({'name': ''}, 'name: not right'), ({'version': 1}, 'version: not right'),
    ({'licence': None}, 'licence: is missing'), ({'name': 'a\nb'}, 'name: holds a control character'),
    ({'sha256': None}, 'sha256: is missing'), ({'sha256': 'z' * 64}, 'sha256: not right'),
    ({'sha256': 'ab'}, 'sha256: not right'), ({'modality': None}, 'modality: is missing'),
    ({'modality': []}, 'modality: not right'), ({'modality': [1]}, 'modality: not right'),
    ({'file': None}, 'file: is missing'), ({'file': '../m.onnx'}, "file: leaves the card's folder"),
    ({'file': 'a/../../m.onnx'}, "file: leaves the card's folder"), ({'input': None}, 'input: is missing'),
    ({'input': 3}, 'input: not right'), ({'input__name': None}, 'input.name: is missing'),
    ({'input__layout': 'CHW'}, 'input.layout: .*NCHW NHWC'), ({'input__size': 8}, 'input.size: not right'),
    ({'input__size': [8]}, 'input.size'), ({'input__size': [8, 0]}, 'input.size: .*1 to 2048'),
    ({'input__size': [8, 2049]}, 'input.size: .*1 to 2048'), ({'input__size': [8, 10.5]}, 'input.size'),
    ({'input__resize': 'nearest'}, 'input.resize: .*area bilinear bicubic'), ({'input__mean': None}, 'input.mean: is miss'),
    ({'input__mean': []}, 'input.mean'), ({'input__mean': ['0', 0, 0]}, 'input.mean'),
    ({'input__mean': [0, 0]}, 'input.std: 3 numbers, but input.mean has 2'), ({'input__std': [1, 1, 0]}, 'input.std'),
    ({'input__std': [1, 1, -1]}, 'input.std'), ({'input__std': [1, 1, 1e300]}, 'input.std'),
    ({'input__colour_order': 'GRB'}, 'input.colour_order: .*RGB BGR'),
    ({'input__colour_oder': 'RGB'}, 'input.colour_oder: no such field'),
    ({'windows': None}, 'windows: 0 of them'), ({'windows': WINDOWS[:2]}, 'windows: 2 of them'),
    ({'windows__1__width': 0}, r'windows\[1\].width: '), ({'windows__1__width': None}, r'windows\[1\].width: is missing'),
    ({'windows__2__centre': 'high'}, r'windows\[2\].centre: not right'), ({'windows__0__center': 1}, 'windows.*center: no such'),
    ({'output': None}, 'output: is missing'), ({'output__embedding': None}, 'output.embedding: is missing'),
    ({'output__dim': 0}, 'output.dim: .*1 to 4096'), ({'output__dim': 4097}, 'output.dim: .*1 to 4096'),
    ({'output__dim': True}, 'output.dim'), ({'output__pooling': 'max'}, 'output.pooling: .*none cls mean'),
    ({'output__patch_grid': [2, 2]}, 'output.patch_grid: is of no use'),
]


@pytest.mark.parametrize('changes, message', CARD_FAULTS, ids=[str(c)[1:-1] for c, _ in CARD_FAULTS])
def test_card_faults_are_named(tmp_path, changes, message):
    path, _ = make_card(tmp_path, flat()[0], **changes)
    with pytest.raises(cmir_ffi.Error, match=f'ECORRUPT: {re.escape(path)}: encoder card: {message}'):
        encoder_ffi.Encoder(path)


@pytest.mark.parametrize('text, message', [
    ('', 'not JSON'), ('[]', 'not a JSON object'), ('{"name": "a", "name": "b"}', 'not JSON: duplicate'),
    ('{"name": NaN}', 'line 1: not JSON'), ('{"a": 1e999}', 'not JSON: real number overflow'),
    ('{"name":\n\n "\xff', 'not JSON'), ('[' * 100000, 'not JSON')], ids=range(7))
def test_what_is_no_card_is_refused(tmp_path, text, message):
    path = tmp_path / 'card.json'
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(cmir_ffi.Error, match=f'ECORRUPT: .*card.json: encoder card: .*{message}'):
        encoder_ffi.Encoder(str(path))


@needs_runtime
@pytest.mark.parametrize('changes, code, message', [
    ({'sha256': '0' * 64}, 'ECORRUPT', 'm.onnx: sha256 is [0-9a-f]{16}..., .*card.json says 0000000000000000'),
    ({'file': 'absent.onnx'}, 'ENOTFOUND', 'absent.onnx: No such file'),
    ({'input__name': 'image'}, 'ECORRUPT', "input.name: the model's input is called pixels, not image"),
    ({'input__size': [10, 8]}, 'ECORRUPT', r'input: the model wants \[N, 3, 8, 10\], the card says \[N, 3, 10, 8\]'),
    ({'input__layout': 'NHWC'}, 'ECORRUPT', r'the card says \[N, 8, 10, 3\]'),
    ({'output__embedding': 'pooled'}, 'ECORRUPT', 'output.embedding: the model has no output pooled; it has seen'),
    ({'output__dim': 239}, 'ECORRUPT', r'output.dim, output.pooling: seen of the model is \[N, 240\], not 239'),
    ({'output__pooling': 'mean'}, 'ECORRUPT', 'output.dim, output.pooling'),
    ({'output__patches': 'tokens'}, 'ECORRUPT', 'output.patches: the model has no output tokens'),
    ({'output__patches': 'seen', 'output__patch_grid': [2, 2]}, 'ECORRUPT', 'output.patch_grid: seen .* 2 x 2'),
], ids=str)
def test_models_that_contradict_their_card(tmp_path, changes, code, message):
    path, _ = make_card(tmp_path, flat()[0], **changes)
    with pytest.raises(cmir_ffi.Error, match=f'{code}: .*{message}'):
        encoder_ffi.Encoder(path)


@needs_runtime
def test_models_of_other_kinds_are_refused(tmp_path):
    def opened(model):
        return encoder_ffi.Encoder(make_card(tmp_path, model)[0])

    nodes, outputs = [('Flatten', ['pixels'], ['seen'], {'axis': 1})], {'seen': ['N', 240]}
    with pytest.raises(cmir_ffi.Error, match='EUNSUPPORTED: .*pixels of the model is float16; export it as float32'):
        opened(onnx_bytes.model('pixels', ['N', 3, 8, 10], nodes, outputs, kind=onnx_bytes.FLOAT16))
    with pytest.raises(cmir_ffi.Error, match='EUNSUPPORTED: .*takes 65 slices at a time'):
        opened(onnx_bytes.model('pixels', [65, 3, 8, 10], nodes, {'seen': [65, 240]}))
    with pytest.raises(cmir_ffi.Error, match='ECORRUPT: .*card.json: ONNX Runtime: '):
        opened(b'not a model')
    with pytest.raises(cmir_ffi.Error, match='ECORRUPT: .*card.json: ONNX Runtime: '):
        opened(b'')


def test_without_onnx_runtime(tmp_path):
    path, _ = make_card(tmp_path, flat()[0])
    with pytest.raises(cmir_ffi.Error, match='EUNSUPPORTED: ONNX Runtime cannot be used: .*/no/such/lib.so'):
        encoder_ffi.Encoder(path, onnxruntime='/no/such/lib.so')
    other = cmir_ffi.library_path()
    with pytest.raises(cmir_ffi.Error, match='EUNSUPPORTED: .*not ONNX Runtime'):
        encoder_ffi.Encoder(path, onnxruntime=os.path.realpath(other))
    with pytest.raises(cmir_ffi.Error, match='ENOTFOUND: .*absent.json'):
        encoder_ffi.Encoder(str(tmp_path / 'absent.json'))
