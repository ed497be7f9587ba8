# SPDX-License-Identifier: Apache-2.0
"""The command as a careless user meets it: every verb's JSON, every way to get it wrong (exit code and the words that
matter), batches with bad files."""
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest
from cli_help import (CMIR, NOTICE, N_AIR, SEED, VERBS, archive, body, labels, ok, ok_json, own, refused, run,
                      save_dicom, save_nifti, scans)  # noqa: F401


# ---------------------------------------------------------------- usage


USAGE = [
    ([], ['verb', 'cmir help']),
    (['serch', 'A', 'Q'], ["'serch'", "did you mean 'search'"]),
    (['frobnicate'], ["'frobnicate'"]),
    (['help', 'lst'], ["did you mean 'list'"]),
    (['list'], ['ARCHIVE']),
    (['list', 'A', 'extra'], ['too many', 'extra']),
    (['list', 'A', '--jsn'], ["'--jsn'", "did you mean '--json'", 'cmir list --help']),
    (['list', 'A', '-x'], ["'-x'"]),
    (['list', 'A', '--where'], ['--where', 'value']),
    (['list', 'A', '--json=1'], ['--json', 'no value']),
    (['list', 'A', '--where', 'Modality ='], ['filter']),
    (['list', 'A', '--where', "Modality = 'CT' andd Slices > 1"], ['filter']),
    (['search', 'A'], ['query', '--batch']),
    (['search', 'A', 'A:scan_1', '--batch', 'LIST'], ['query', '--batch']),
    (['search', 'A', '--batch', 'LIST', '--report', 'r.html'], ['--report', '--batch']),
    (['search', 'A', 'A:scan_1', '--exhaustive', '--rerank', '5'], ['--exhaustive', '--rerank']),
    (['search', 'A', 'A:scan_1', '--rerank', '0'], ['--rerank', "'0'"]),
    (['search', 'A', 'A:scan_1', '--rerank', '-1'], ['--rerank', "'-1'"]),
    (['search', 'A', 'A:scan_1', '--slices', '5'], ['--slices', "'5'", '40:60']),
    (['search', 'A', 'A:scan_1', '--slices', '-1:4'], ['--slices']),
    (['search', 'A', 'A:scan_1', '--slices', '9:3'], ['9:3', 'after the last']),
    (['search', 'A', 'A:scan_1', '--slices', '5:13'], ['5:13', '0:12']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--slices', '5:13'], ['5:13', '0:12']),
    (['search', 'A', 'A:scan_1', '--slices', '11:12'], ['11:12', 'air']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--slices', '11:12'], ['11:12', 'air']),
    (['search', 'A', 'A:scan_1', '--limit', '0'], ['--limit', "'0'"]),
    (['search', 'A', 'A:scan_1', '--limit', 'many'], ['--limit', "'many'"]),
    (['search', 'A', 'A:scan_1', '--limit', '99999999999999999999999'], ['--limit']),
    (['search', 'A', 'A:scan_1', '--score', 'maxsimm'], ["'maxsimm'", 'symmetric']),
    (['search', 'A', 'A:scan_1', '--exclude', 'me'], ["'me'", 'patient']),
    (['search', 'A', 'A:scan_1', '--threads', '0'], ['--threads']),
    (['search', 'A', 'A:scan_1', '--where', 'size >'], ['filter']),
    (['search', 'A', 'SCANS'], ['9 volumes', '--series', 'scan_0']),
    (['add', 'A'], ['INPUT']),
    (['add', 'A', 'SCANS', '--id', 'x'], ['--id', '9']),
    (['add', 'A', 'SCANS', '--id', ''], ['--id']),
    (['add', 'A', 'SCANS', '--modality', 'PET'], ['--modality', 'CT, MR']),
    (['add', 'A', 'SCANS', '--min-slices', '0'], ['--min-slices']),
    (['add', 'A', '-'], ['standard input']),
    (['import', 'A'], ['INPUT']),
    (['init', 'NEW', '--plane', 'axail'], ["'axail'", 'coronal']),
    (['export', 'A', 'scan_1'], ['-o']),
    (['export', 'A', 'scan_1', '-o', '-', '--json'], ['--json', 'standard output']),
    (['encoder'], ['list', 'inspect']),
    (['encoder', 'lst'], ["'lst'", 'inspect']),
    (['encoder', 'inspect'], ['card']),
    (['phantom', 'NEW', '--volumes', '0'], ['--volumes']),
]


def fill(args, archive, scans, tmp_path):
    """The letters of the tables below stand for paths."""
    def one(arg):
        for name, path in (('SCANS', scans), ('NEW', tmp_path / 'new'), ('EMPTY', tmp_path)):
            if arg.startswith(name):
                return str(path) + arg[len(name):]
        return str(archive) + arg[1:] if arg == 'A' or arg.startswith('A:') else arg
    return [one(arg) for arg in args]


@pytest.mark.parametrize('args,words', USAGE, ids=[' '.join(a)[:50] for a, _ in USAGE])
def test_usage_errors(args, words, archive, scans, tmp_path):
    done = refused(2, words, *fill(args, archive, scans, tmp_path))
    assert done.stdout == ''
    assert not (tmp_path / 'new').exists()


DATA_ERRORS = [
    (['list', 'NEW'], ['new', 'no such archive']),
    (['list', 'SCANS'], ['not a cmir archive']),
    (['list', 'SCANS/scan_1.nii.gz'], ['scan_1.nii.gz', 'not a cmir archive']),
    (['stat', 'EMPTY'], ['not a cmir archive']),
    (['verify', 'NEW'], ['no such archive']),
    (['show', 'A', 'nobody'], ["'nobody'"]),
    (['remove', 'A', 'nobody'], ["'nobody'"]),
    (['remove', 'NEW', 'nobody'], ['no such archive']),
    (['export', 'A', 'nobody', '-o', 'NEW'], ["'nobody'"]),
    (['export', 'A', 'scan_1', '-o', '/nowhere/x.npy'], ['/nowhere/x.npy']),
    (['init', 'A'], ['archive', 'already']),
    (['init', 'SCANS'], ['empty']),
    (['init', 'NEW', '--encoder', 'missing.json'], ['missing.json']),
    (['init', 'NEW', '--encoder', 'SCANS/scan_1.nii.gz'], ['scan_1.nii.gz']),
    (['add', 'SCANS', 'SCANS/scan_1.nii.gz'], ['not a cmir archive']),
    (['add', 'EMPTY', 'SCANS/scan_1.nii.gz'], ['not a cmir archive']),
    (['add', 'SCANS/scan_1.nii.gz', 'SCANS/scan_2.nii.gz'], ['scan_1.nii.gz', 'not a cmir archive']),
    (['add', 'A', 'missing.nii'], ['missing.nii', 'REFUSED', '1 refused']),
    (['add', 'NEW', 'missing.nii'], ['missing.nii', '1 refused']),
    (['add', 'NEW', 'EMPTY'], ['no scan found']),
    (['add', 'A', 'SCANS', '--labels', 'missing.csv'], ['missing.csv']),
    (['add', 'A', 'SCANS', '--encoder', 'missing.json'], ['missing.json']),
    (['label', 'A', 'missing.csv'], ['missing.csv']),
    (['label', 'A', 'SCANS'], ['scans', 'regular']),
    (['search', 'NEW', 'SCANS/scan_1.nii.gz'], ['no such archive']),
    (['search', 'A', 'missing.nii.gz'], ['missing.nii.gz', 'no such file']),
    (['search', 'A', 'A'], ['ARCHIVE:VOLUME']),
    (['search', 'A', 'A:nobody'], ["'nobody'"]),
    (['search', 'A', 'SCANS:scan_1'], ['no such file']),
    (['search', 'A', 'SCANS', '--series', 'nobody'], ['nobody', 'scan_0']),
    (['search', 'A', 'EMPTY'], ['no scan found']),
    (['search', 'A', 'SCANS/scan_1.nii.gz', '--report', '/nowhere/r.html'], ['/nowhere/r.html']),
    (['encoder', 'inspect', 'missing.json'], ['missing.json']),
    (['encoder', 'list', 'missing.json'], ['missing.json']),
]


@pytest.mark.parametrize('args,words', DATA_ERRORS, ids=[' '.join(a)[:50] for a, _ in DATA_ERRORS])
def test_data_errors(args, words, archive, scans, tmp_path):
    refused(1, words, *fill(args, archive, scans, tmp_path))
    assert not (tmp_path / 'new').exists()
    assert len(ok_json('list', archive)['Volumes']) == 9


@pytest.mark.parametrize('verb', VERBS)
def test_help(verb):
    text = ok(verb, '--help')
    assert text == ok('help', verb) == ok('--help', verb) == ok(verb, '-h')
    assert f'Example:\n  cmir {verb} ' in text and '--json' in text and 'not for diagnosis' in text
    assert verb in ok('help') and ok(verb, '--version') == ok('--version')
    assert re.fullmatch(r'cmir \d+\.\d+\.\d+\n', ok('--version'))


@pytest.mark.parametrize('verb', VERBS)
def test_help_names_every_option(verb):
    """Each option that the help shows is known to the parser, and is refused or taken as the help says."""
    for name, value in re.findall(r'--([a-z-]+)( [A-Z]\S*)?', ok(verb, '--help').split('Example:')[0].split('\n\n', 2)[2]):
        said = run(verb, f'--{name}' if value else f'--{name}=x').stderr
        assert ('needs a value' if value else 'takes no value') in said, (name, said)


@pytest.mark.parametrize('verb', VERBS)
def test_reference_names_every_option(verb):
    source = os.environ.get('CMIR_SOURCE') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
    with open(os.path.join(source, 'docs', 'cli.md')) as f:
        sections = re.split(r'^## ', f.read(), flags=re.M)
    section = next(s for s in sections if s.startswith(verb + '\n'))
    own, common = ok(verb, '--help').split('Common options:')
    assert f'cmir {verb} ' in section
    assert set(re.findall(r'--[a-z-]+', own.partition('Options:')[2])) <= set(re.findall(r'--[a-z-]+', section))
    assert set(re.findall(r'--[a-z-]+', common.split('Example:')[0])) <= set(re.findall(r'--[a-z-]+', sections[0]))


def test_options_anywhere(archive, scans, tmp_path):
    want = ok('list', archive, '--json')
    assert want == ok('--json', 'list', archive) == ok('list', '--json', archive) == ok('list', '--json', '--', archive)
    assert want == ok('--threads', '2', '-q', 'list', archive, '--json')
    assert ok('list', archive, '--json', '-o', tmp_path / 'list.json') == ''
    assert (tmp_path / 'list.json').read_text() == want
    assert ok('list', archive, '--json', env={**os.environ, 'POSIXLY_CORRECT': '1'}) == want
    shutil.copy(scans / 'scan_1.nii.gz', tmp_path / '-x.nii.gz')
    assert 'added -x ' in ok('add', 'fresh', '--', '-x.nii.gz', cwd=tmp_path)
    assert 'created archive' in ok('add', 'created', './-x.nii.gz', cwd=tmp_path)


# ---------------------------------------------------------------- archives


def test_init(tmp_path):
    made = ok_json('init', tmp_path / 'a', '--plane', 'sagittal')
    assert made['Plane'] == 'sagittal' and made['Encoder']['Name'] == 'builtin' and made['Dim'] > 0
    stat_ = ok_json('stat', tmp_path / 'a')
    assert (stat_['Volumes'], stat_['Plane'], stat_['Encoder']) == (0, 'sagittal', made['Encoder'])
    assert 'empty' in run('list', tmp_path / 'a').stderr
    assert ok_json('list', tmp_path / 'a') == {'Volumes': []}
    (tmp_path / 'there').mkdir()
    ok('init', tmp_path / 'there')


@pytest.mark.parametrize('plane,axis', [('axial', 2), ('coronal', 1), ('sagittal', 0)])
def test_planes(plane, axis, tmp_path):
    voxels = body(np.random.default_rng(1), 30, 14)[:, :22]
    save_nifti(tmp_path / 's.nii', voxels)
    ok('init', tmp_path / 'a', '--plane', plane)
    ok('add', tmp_path / 'a', tmp_path / 's.nii')
    assert ok_json('list', tmp_path / 'a')['Volumes'][0]['Slices'] == voxels.shape[axis]


def test_add_creates_and_says_so(scans, tmp_path):
    text = ok('add', tmp_path / 'a', scans / 'scan_3.nii.gz')
    assert 'created archive' in text and 'built-in' in text and 'added scan_3 (15 slices)' in text
    done = ok_json('add', tmp_path / 'b', scans / 'scan_3.nii.gz')
    assert set(done) == {'Archive', 'Created', 'Added', 'AlreadyThere', 'Refused', 'Skipped', 'Slices', 'Seconds',
                         'Interrupted'}
    assert done['Created'] and done['Slices'] == 15 and not done['Interrupted']
    assert done['Added'] == [{'VolumeId': 'scan_3', 'Path': str(scans / 'scan_3.nii.gz'), 'Slices': 15, 'Warnings': []}]
    assert ok('add', '-q', tmp_path / 'c', scans / 'scan_3.nii.gz') == ''


def test_adding_again_is_a_no_op_that_says_so(own, scans):
    before = ok_json('stat', own)
    assert 'already there: scan_2' in ok('add', own, scans / 'scan_2.nii.gz')
    done = ok_json('add', own, scans)
    assert len(done['AlreadyThere']) == 9 and not done['Added'] and not done['Created']
    assert ok_json('stat', own) == before


def test_ids(own, scans, tmp_path):
    shutil.copy(scans / 'scan_2.nii.gz', tmp_path / 'scan_1.nii.gz')
    refused(1, ['scan_1', 'other embeddings', '1 refused'], 'add', own, tmp_path / 'scan_1.nii.gz')
    refused(1, ['scan_3', '1 refused'], 'add', own, scans / 'scan_2.nii.gz', '--id', 'scan_3')
    assert 'added elsewhere ' in ok('add', own, scans / 'scan_2.nii.gz', '--id', 'elsewhere')
    assert ok_json('show', own, 'elsewhere')['Path'] == str(scans / 'scan_2.nii.gz')


def test_paths_from_standard_input(scans, tmp_path):
    paths = f'{scans}/scan_1.nii.gz\n\n{scans}/scan_2.nii.gz\nmissing.nii\n{scans}/scan_4.nii.gz'
    done = refused(1, ['missing.nii', '3 added', '1 refused'], 'add', tmp_path / 'a', '-', input=paths)
    assert [v['VolumeId'] for v in ok_json('list', tmp_path / 'a')['Volumes']] == ['scan_1', 'scan_2', 'scan_4'], done
    refused(1, ['not a list of paths'], 'add', tmp_path / 'b', '-', input='a\0b\n')


def test_batch_with_bad_files(tmp_path):
    """1,000 files, 10 of them bad in 5 ways: 990 are added, a table of the ten ends the run."""
    rng = np.random.default_rng(SEED)
    folder = tmp_path / 'batch'
    folder.mkdir()
    for i in range(1000):
        save_nifti(folder / f'v{i:04}.nii', body(rng, 12, 6))
    bad = sorted(rng.choice(1000, 10, replace=False))
    for n, i in enumerate(bad):
        path = folder / f'v{i:04}.nii'
        content = bytearray(path.read_bytes())
        if n % 5 == 0:
            path.write_bytes(content[:1000])
        elif n % 5 == 1:
            path.write_bytes(b'')
        elif n % 5 == 2:
            path.write_bytes(os.urandom(3000))
        elif n % 5 == 3:
            content[70:72] = b'\x00\x08'  # no such type
            path.write_bytes(content)
        else:
            nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), path)
    done = run('add', tmp_path / 'a', folder)
    assert done.returncode == 1, done.stderr
    table = done.stderr.strip().splitlines()
    assert table[0].split() == ['REFUSED', 'REASON'] and len(table) == 11
    for i, line in zip(bad, table[1:]):
        path, reason = line.split(None, 1)
        assert path == str(folder / f'v{i:04}.nii') and len(reason) > 10
    assert done.stdout.splitlines()[-1].startswith('990 added, 0 already there, 10 refused, 0 skipped')
    assert '\r' not in done.stderr and '\033' not in done.stderr
    assert ok_json('stat', tmp_path / 'a')['Volumes'] == 990
    again = run('add', tmp_path / 'a', folder, '--json')
    again_json = json.loads(again.stdout)
    assert again.returncode == 1 and len(again_json['AlreadyThere']) == 990 and not again_json['Added']
    assert [set(r) for r in again_json['Refused']] == [{'Path', 'VolumeId', 'Reason', 'Status'}] * 10
    assert 'sound' in ok('verify', tmp_path / 'a')


def test_inputs_beside_the_archive_are_not_mistaken_for_it(scans, tmp_path):
    """A bad file whose path begins like the archive's is one bad file, not a broken archive."""
    (tmp_path / 'ct_scans').mkdir()
    (tmp_path / 'ct_scans/a.nii').write_bytes((scans / 'scan_1.nii.gz').read_bytes()[:500])
    content = bytearray(nib.load(scans / 'scan_1.nii.gz').to_bytes())
    (tmp_path / 'ct_scans/b.nii').write_bytes(content[:-1000])
    shutil.copy(scans / 'scan_2.nii.gz', tmp_path / 'ct_scans/c.nii.gz')
    refused(1, ['1 added', '2 refused'], 'add', tmp_path / 'ct', tmp_path / 'ct_scans')


def test_scouts_and_other_files_are_skipped(tmp_path):
    rng = np.random.default_rng(3)
    save_dicom(tmp_path / 'in/ct', body(rng, 20, 9), '1.2.3.1')
    save_dicom(tmp_path / 'in/scout', body(rng, 20, 3), '1.2.3.2')
    (tmp_path / 'in/notes.txt').write_text('nothing to see')
    done = ok_json('add', tmp_path / 'a', tmp_path / 'in')
    assert [v['VolumeId'] for v in done['Added']] == ['1.2.3.1'] and not done['Refused']
    assert len(done['Skipped']) == 2 and any('notes.txt' in s['Path'] for s in done['Skipped'])
    assert '1.2.3.2' in [v['VolumeId'] for v in ok_json('add', tmp_path / 'a', tmp_path / 'in', '--min-slices', 3)['Added']]
    refused(1, ['notes.txt', '1 refused'], 'add', tmp_path / 'a', tmp_path / 'in/notes.txt')


def test_warnings_name_files(tmp_path):
    save_dicom(tmp_path / 'gap', body(np.random.default_rng(3), 20, 12), '1.2.3.1')
    for path in sorted((tmp_path / 'gap').iterdir()):
        if pydicom.dcmread(path).InstanceNumber == 6:
            path.unlink()
    done = run('add', tmp_path / 'a', tmp_path / 'gap')
    assert done.returncode == 0 and 'warning' in done.stderr and '.dcm' in done.stderr
    assert ok_json('add', tmp_path / 'b', tmp_path / 'gap')['Added'][0]['Warnings']
    assert run('add', '-q', tmp_path / 'c', tmp_path / 'gap').stderr == ''


def test_frames_and_modality(own, tmp_path):
    voxels = body(np.random.default_rng(5), 20, 10)
    four = np.stack([voxels, voxels + 5], axis=3)
    nib.save(nib.Nifti1Image(four, np.diag([-8, -8, 5, 1])), tmp_path / 'four.nii')
    refused(1, ['four.nii', '2 frames'], 'add', own, tmp_path / 'four.nii')
    refused(1, ['four.nii', '2 frames'], 'search', own, tmp_path / 'four.nii')
    ok('add', own, tmp_path / 'four.nii', '--frame', 2)
    ok('search', own, tmp_path / 'four.nii', '--frame', 2)
    ok('add', own, tmp_path / 'four.nii', '--frame', 1, '--modality', 'MR', '--id', 'as_mr')
    assert ok_json('show', own, 'as_mr')['Modality'] == 'MR'


def test_labels(own, tmp_path):
    csv = tmp_path / 'more.csv'
    csv.write_text('organ,VolumeId,stage\nbrain,scan_4,7\nbrain,nobody,8\n')
    done = ok_json('label', own, csv)
    assert done == {'Rows': 2, 'Labelled': 1, 'Missing': ['nobody']}
    assert 'no volume nobody' in ok('label', own, csv)
    shown = ok_json('show', own, 'scan_4')['Labels']
    assert shown['organ'] == 'brain' and shown['stage'] == '7' and shown['size'] == '2.0'
    csv.write_text('name,stage\nnobody,1\n')
    refused(1, ["'nobody'", "'scan_0'"], 'label', own, csv)
    for bad in ('', 'name\n', 'name,a,a\nscan_1,1,2\n', 'name,a\nscan_1,1,2,3\n', 'name,a\n"scan_1,1\n',
                'name,a\nscan_1,1\nscan_1,2\n', 'name,PatientAge\nscan_1,old\n'):
        csv.write_text(bad)
        done = run('label', own, csv)
        assert done.returncode == 1 and 'more.csv' in done.stderr or bad == 'name\n', (bad, done)


def test_remove(own):
    done = run('remove', own, 'scan_1', 'nobody', 'scan_2', '--json')
    assert done.returncode == 1 and "'nobody'" in done.stderr
    result = json.loads(done.stdout)
    assert result['Removed'] == ['scan_1', 'scan_2'] and result['Refused'][0]['VolumeId'] == 'nobody'
    stat_ = ok_json('stat', own)
    assert stat_['Volumes'] == 7 and stat_['DeadBytes'] > 0
    assert 'removed scan_3' in ok('remove', own, 'scan_3')
    refused(1, ['scan_3'], 'show', own, 'scan_3')
    assert not {'scan_1', 'scan_2', 'scan_3'} & {m['VolumeId'] for m in ok_json('search', own, f'{own}:scan_4')['Matches']}


def test_one_writer_many_readers(own, scans):
    writer = subprocess.Popen([CMIR, 'add', own, '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while (own / 'lock').read_text().strip() != str(writer.pid) and time.monotonic() < deadline:
            time.sleep(.02)
        refused(1, ['own', 'is using it'], 'add', own, scans / 'scan_1.nii.gz')
        refused(1, ['is using it'], 'remove', own, 'scan_1')
        assert len(ok_json('list', own)['Volumes']) == 9
        assert ok_json('search', own, f'{own}:scan_1')['Matches']
    finally:
        said = writer.communicate(f'{scans}/scan_1.nii.gz\n')[0]
    assert writer.returncode == 0 and 'already there: scan_1' in said


def test_interrupted_add_keeps_what_it_reported(tmp_path):
    rng = np.random.default_rng(9)
    for i in range(60):
        save_nifti(tmp_path / f's{i:02}.nii', body(rng, 64, 24))
    writer = subprocess.Popen([CMIR, 'add', tmp_path / 'a', tmp_path, '--threads', '1'], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    lines = [writer.stdout.readline() for _ in range(4)]
    writer.send_signal(signal.SIGINT)
    out, err = writer.communicate(timeout=60)
    reported = {line.split()[1] for line in lines + out.splitlines() if line.startswith('added ')}
    assert writer.returncode == 1 and 'interrupted' in err and ' added, ' in out.splitlines()[-1]
    assert 3 <= len(reported) < 60
    assert {v['VolumeId'] for v in ok_json('list', tmp_path / 'a')['Volumes']} == reported
    assert 'sound' in ok('verify', tmp_path / 'a')


def test_progress_on_a_terminal_only(scans, tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.Popen([CMIR, 'add', tmp_path / 'a', scans], stdout=subprocess.PIPE, stderr=theirs, text=True)
    out = done.communicate(timeout=60)[0]
    os.close(theirs)
    shown = b''
    while select.select([ours], [], [], 0.2)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the end, as Linux tells it
            break
    os.close(ours)
    assert done.returncode == 0 and out.count('added scan_') == 9 and '\r' not in out
    assert re.search(r'\d of 9 volumes, \d+ slices/s, \d+:\d\d left', shown.decode())
    assert run('add', tmp_path / 'b', scans).stderr == ''


def limited(nbytes):
    return {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes)), 'restore_signals': False}


def test_full_disk(scans, archive, tmp_path):
    """No file may grow beyond a limit, as on a full disk: the archive says so, stops and stays sound."""
    done = refused(1, ['segments', 'cannot write'], 'add', tmp_path / 'a', scans, '--previews', 'none', **limited(100_000))
    n_added = done.stdout.count('added scan_')
    assert 0 < n_added < 9
    assert len(ok_json('list', tmp_path / 'a')['Volumes']) == n_added
    assert 'sound' in ok('verify', tmp_path / 'a')
    assert len(ok_json('add', tmp_path / 'a', scans)['Added']) == 9 - n_added
    limit = 33_000  # SQLite needs 32 KiB to share a catalogue between processes
    assert 20 * ok_json('stat', archive)['Dim'] * 4 > limit
    refused(1, ['x.npy', 'cannot write'], 'export', archive, 'scan_8', '-o', tmp_path / 'x.npy', **limited(limit))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a']
    for verb in (['list'], ['stat'], ['list', '--json'], ['search', f'{archive}:scan_1', '--json']):
        with open('/dev/full', 'w') as full:
            done = subprocess.run([CMIR, verb[0], archive, *verb[1:]], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and 'cannot write' in done.stderr
    refused(1, ['/dev/full'], 'list', archive, '-o', '/dev/full')
    refused(1, ['/dev/full'], 'export', archive, 'scan_1', '-o', '/dev/full')


def test_output_replaces_only_when_whole(archive, tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('precious')
    refused(1, ['nobody'], 'show', archive, 'nobody', '-o', path)
    assert path.read_text() == 'precious'
    ok('show', archive, 'scan_1', '--json', '-o', path)
    assert json.loads(path.read_text())['VolumeId'] == 'scan_1'
    os.mkfifo(tmp_path / 'pipe')
    reader = subprocess.Popen(['cat', tmp_path / 'pipe'], stdout=subprocess.PIPE, text=True)
    ok('show', archive, 'scan_1', '--json', '-o', tmp_path / 'pipe')
    assert json.loads(reader.communicate(timeout=20)[0])['VolumeId'] == 'scan_1'
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode)


def test_unreadable_files(tmp_path, scans):
    how = {}
    if os.geteuid() == 0:
        how = {'user': 65534, 'group': 65534, 'extra_groups': []}
        for folder in [tmp_path, *tmp_path.parents[:3]]:
            if folder.is_dir() and str(folder) != '/tmp' and folder.stat().st_uid == os.geteuid():
                os.chmod(folder, folder.stat().st_mode | 0o755)
    for part in (CMIR, *list(scans.glob('scan_1*'))):
        done = subprocess.run(['test', '-r', str(part)], **how)
        if done.returncode != 0 and part == CMIR:
            pytest.skip('the program cannot be reached by an ordinary user')
    shutil.copy(scans / 'scan_1.nii.gz', tmp_path / 'secret.nii.gz')
    os.chmod(tmp_path / 'secret.nii.gz', 0)
    shutil.copytree(ok_archive(tmp_path, scans), tmp_path / 'closed')
    (tmp_path / 'out').mkdir()
    os.chmod(tmp_path / 'out', 0o777)
    refused(1, ['secret.nii.gz', 'Permission denied'], 'add', tmp_path / 'out/a', tmp_path / 'secret.nii.gz', **how)
    refused(1, ['secret.nii.gz', 'Permission denied'], 'search', tmp_path / 'closed', tmp_path / 'secret.nii.gz', **how)
    os.chmod(tmp_path / 'closed/catalog.sqlite', 0)
    done = run('list', tmp_path / 'closed', **how)
    assert done.returncode == 1 and 'closed' in done.stderr


def ok_archive(tmp_path, scans):
    ok('add', tmp_path / 'open', scans / 'scan_1.nii.gz')
    return tmp_path / 'open'


def test_damaged_archive(own):
    segment = next((own / 'segments').iterdir())
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0x40
    segment.write_bytes(content)
    done = run('verify', own, '--json')
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found['Sound'] and found['Problems']
    refused(1, ['1 problem'], 'verify', own)
    (own / 'catalog.sqlite').write_bytes(b'no database' * 100)
    for name in ('catalog.sqlite-wal', 'catalog.sqlite-shm'):
        (own / name).unlink(missing_ok=True)
    refused(1, ['catalog.sqlite'], 'list', own)


# ---------------------------------------------------------------- what verbs print


RECORD = {'VolumeId', 'Path', 'Format', 'Modality', 'SeriesInstanceUID', 'StudyInstanceUID', 'PatientId', 'PatientSex',
          'PatientAge', 'StudyDate', 'BodyPartExamined', 'Manufacturer', 'SeriesDescription', 'Slices', 'AirSlices',
          'SliceSpacing', 'PreviewBytes', 'Added', 'Labels'}


def test_list_show_stat_json(archive, scans):
    volumes = ok_json('list', archive)['Volumes']
    assert [v['VolumeId'] for v in volumes] == [f'scan_{i}' for i in range(9)]
    for i, v in enumerate(volumes):
        assert set(v) == RECORD
        assert (v['Slices'], v['AirSlices'], v['Modality'], v['Format']) == (12 + i, N_AIR, 'CT', 'NIfTI')
        assert v['Path'] == str(scans / f'scan_{i}.nii.gz') and v['SliceSpacing'] == 5 and v['PatientAge'] is None
        assert v['Labels'] == {'organ': ['lung', 'liver'][i % 2], 'size': str(i / 2)}
        assert v['PatientId'] == (f'patient{i // 3}' if i < 6 else '')
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', v['Added'])
        text = ok('list', archive)
        assert v['VolumeId'] in text and v['Labels']['organ'] in text
    shown = ok_json('show', archive, 'scan_4')
    assert set(shown) == RECORD | {'Dims', 'Affine', 'HasHU', 'ValueLow', 'ValueHigh', 'SliceMm', 'AirSliceNumbers',
                                   'SOPInstanceUIDs'}
    image = nib.load(scans / 'scan_4.nii.gz')
    assert shown['Dims'] == list(image.shape) and shown['AirSliceNumbers'] == [14, 15]
    np.testing.assert_allclose(shown['Affine'], (np.diag([-1, -1, 1, 1]) @ image.affine)[:3], atol=1e-4)
    np.testing.assert_allclose(shown['SliceMm'], 5 * np.arange(16), atol=1e-4)
    stat_ = ok_json('stat', archive)
    assert set(stat_) == {'Archive', 'Volumes', 'Slices', 'AirSlices', 'Encoder', 'CardPath', 'Dim', 'Plane',
                          'EmbeddingBytes', 'DeadBytes', 'Whitening', 'Previews', 'PreviewBytes', 'DeadPreviewBytes'}
    assert stat_['Previews'] == 'small' and stat_['PreviewBytes'] > 0 and stat_['DeadPreviewBytes'] == 0
    assert stat_['Volumes'] == 9 and stat_['Slices'] == sum(12 + i for i in range(9)) and stat_['AirSlices'] == 18
    assert ok_json('verify', archive) == {'Archive': str(archive), 'Volumes': 9, 'Sound': True, 'Problems': []}
    listed = ok_json('encoder', 'list')['Encoders']
    assert listed[0]['Name'] == 'builtin' and listed[0]['Sha256'] == stat_['Encoder']['Sha256']
    inspected = ok_json('encoder', 'inspect', 'builtin')
    assert inspected['Dim'] == stat_['Dim'] and inspected['Description'] == ok('encoder', 'inspect', 'builtin')


def test_where(archive):
    for where, keep in (("organ = 'lung'", lambda i: i % 2 == 0), ('size >= 2 and Slices < 18', lambda i: 4 <= i < 6),
                        ("not PatientID = 'patient0'", lambda i: i >= 3), ("size = 0 or VolumeId = 'scan_8'",
                                                                           lambda i: i in (0, 8))):
        want = [f'scan_{i}' for i in range(9) if keep(i)]
        if where.startswith('not'):
            want = [v for v in want if v < 'scan_6']  # of an unknown patient nothing is true
            where = "PatientID != 'patient0'"
        assert [v['VolumeId'] for v in ok_json('list', archive, '--where', where)['Volumes']] == want, where
        found = ok_json('search', archive, f'{archive}:scan_1', '--exclude', 'none', '--where', where)
        assert sorted(m['VolumeId'] for m in found['Matches']) == want and found['Candidates'] == len(want)


def test_export(archive, tmp_path):
    for volume in ok_json('list', archive)['Volumes']:
        path = tmp_path / 'x.npy'
        done = ok_json('export', archive, volume['VolumeId'], '-o', path)
        rows = np.load(path, allow_pickle=False)
        assert rows.dtype == np.dtype('<f4') and rows.shape == (volume['Slices'], ok_json('stat', archive)['Dim'])
        assert done == {'VolumeId': volume['VolumeId'], 'Path': str(path), 'Slices': rows.shape[0], 'Dim': rows.shape[1]}
        np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=2e-3)
        raw = subprocess.run([CMIR, 'export', archive, volume['VolumeId'], '-o', '-'], capture_output=True, check=True)
        assert raw.stdout == path.read_bytes() and raw.stdout[:8] == b'\x93NUMPY\x01\x00'
        assert (len(raw.stdout) - rows.nbytes) % 64 == 0


def test_nothing_found_says_why(archive, scans, tmp_path):
    query = f'{archive}:scan_1'
    assert 'passes --where' in ok('search', archive, query, '--where', "organ = 'spleen'")
    assert '--exclude volume' in ok('search', archive, query, '--where', "VolumeId = 'scan_1'")
    assert '--exclude patient' in ok('search', archive, query, '--where', "PatientID = 'patient0'", '--exclude', 'patient')
    ok('init', tmp_path / 'a')
    assert 'empty' in ok('search', tmp_path / 'a', query)
    found = ok_json('search', tmp_path / 'a', scans / 'scan_1.nii.gz')
    assert found['Matches'] == [] and found['Candidates'] == 0 and found['Notice'] == NOTICE


def test_report(archive, scans, tmp_path):
    text = ok('search', archive, scans / 'scan_1.nii.gz', '--report', tmp_path / 'r.html', '--limit', 3)
    page = (tmp_path / 'r.html').read_text()
    assert 'r.html' in text and NOTICE in page.lower() and page.count('data:image/png') >= 4
    assert 'cmir search' in page
    for m in ok_json('search', archive, scans / 'scan_1.nii.gz', '--limit', 3)['Matches']:
        assert m['VolumeId'] in page
