# SPDX-License-Identifier: Apache-2.0
"""The service's interface as programs meet it: what it finds is what cmir search finds; uploads, jobs that are broken
off, labels, feedback, cohorts, and who may see what."""
import concurrent.futures
import csv
import fcntl
import io
import json
import os
import re
import signal
import time

import nibabel as nib
import numpy as np
import pytest
from cli_help import (NOTICE, archive, body, labels, ok, ok_json, own, save_dicom, save_nifti,  # noqa: F401
                      scans)
from service import Api, alive, without_paths


@pytest.fixture
def service(own):
    with Api(own, '--threads', '1') as s:
        yield s


@pytest.fixture(scope='module')
def big(tmp_path_factory):
    """Two scans that take one thread a while to encode."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp('big')
    for name in 'ab':
        save_nifti(folder / f'big_{name}.nii', np.resize(body(rng, 160, 40), (160, 160, 250)))
    return [folder / f'big_{name}.nii' for name in 'ab']


def found(service, **request):
    answer = service.post('/search', request)
    assert answer.status == 200, answer.body
    return answer.json


def same(by_service, by_command):
    by_service.pop('Seconds'), by_command.pop('Seconds')
    assert by_service == without_paths(by_command)


# ---------------------------------------------------------------- search


SEARCHES = [
    ({}, []),
    ({'Query': {'Slices': [2, 5]}}, ['--slices', '2:5']),
    ({'Score': 'ordered', 'Limit': 3}, ['--score', 'ordered', '--limit', '3']),
    ({'Where': "organ = 'lung' and size > 0"}, ['--where', "organ = 'lung' and size > 0"]),
    ({'Exclude': 'patient', 'Neighbours': 5}, ['--exclude', 'patient', '--k', '5']),
    ({'Exclude': 'none', 'Limit': 200, 'Score': 'weighted'}, ['--exclude', 'none', '--limit', '200', '--score',
                                                             'weighted']),
    ({'Contrast': 'organ=lung'}, ['--contrast', 'organ=lung']),
    ({'Contrast': 'size', 'Exclude': 'none'}, ['--contrast', 'size', '--exclude', 'none']),
    ({'Where': 'PatientAge > 200'}, ['--where', 'PatientAge > 200']),
]


@pytest.mark.parametrize('request_, options', SEARCHES)
def test_search_is_that_of_the_command(service, own, request_, options):
    for i in (0, 4, 8):
        query = {'VolumeId': f'scan_{i}', **request_.get('Query', {})}
        command = ok_json('search', own, f'{own}:scan_{i}', *options)
        assert 'Notice' in command and command['Notice'] == NOTICE
        same(found(service, **{**request_, 'Query': query}), command)


def test_search_as_a_job(service, own):
    answer = service.post('/search', {'Query': {'VolumeId': 'scan_3'}}, Prefer='respond-async')
    job = service.finish(answer)
    assert job['State'] == 'done' and job['Kind'] == 'search'
    same(job['Result'], ok_json('search', own, f'{own}:scan_3'))
    bad = service.finish(service.post('/search', {'Query': {'VolumeId': 'nobody'}}, Prefer='respond-async'))
    assert bad['State'] == 'failed' and bad['Error']['Status'] == 'CMIR_ENOTFOUND' and bad['Result'] is None
    assert str(own) not in str(bad)


def shifted(result, by):
    """A result of a part of a scan, told in slices of the whole."""
    result['Query']['QuerySlices'] = [n + by for n in result['Query']['QuerySlices']]
    for match in result['Matches']:
        match['QuerySlices'] = [n + by for n in match['QuerySlices']]
        match['BestPair']['QuerySlice'] += by
        match['SliceMatches'] = [[q + by, *rest] for q, *rest in match['SliceMatches']]
    return result


@pytest.mark.parametrize('exclude', ['volume', 'patient', 'none'])
def test_box_is_a_scan_of_its_own(service, own, scans, tmp_path, exclude):
    """A box finds what a file finds that holds these voxels only; its patient is known from the archive."""
    rows, columns, slices = [4, 33], [2, 30], [3, 9]
    voxels = np.asanyarray(nib.load(scans / 'scan_4.nii.gz').dataobj)
    save_nifti(tmp_path / 'scan_4.nii.gz', voxels[columns[0]:columns[1] + 1, rows[0]:rows[1] + 1,
                                                  slices[0]:slices[1] + 1])
    where = ['--where', "not PatientID = 'patient1'"] if exclude == 'patient' else []
    command = ok_json('search', own, tmp_path / 'scan_4.nii.gz', '--exclude', exclude, *where)
    query = {'VolumeId': 'scan_4', 'Box': {'Rows': rows, 'Columns': columns, 'Slices': slices}}
    job = service.finish(service.post('/search', {'Query': query, 'Exclude': exclude}))
    assert job['State'] == 'done', job
    got, want = job['Result'], shifted(without_paths(command), slices[0])
    assert got['Query'].pop('Box') == query['Box']
    want['Query']['Slices'] = voxels.shape[2]
    for result in (got, want):
        result.pop('Seconds')
    assert got == want and len(got['Matches']) == {'volume': 8, 'patient': 6, 'none': 9}[exclude]


def test_box_outside_of_the_scan(service):
    query = {'VolumeId': 'scan_4', 'Box': {'Rows': [0, 40], 'Columns': [0, 10], 'Slices': [0, 2]}}
    job = service.finish(service.post('/search', {'Query': query}))
    assert job['State'] == 'failed' and job['Error']['Status'] == 'CMIR_EINVAL', job


def test_evidence_and_matches(service, own):
    command = ok_json('search', own, f'{own}:scan_2', '--contrast', 'organ=lung')
    request = {'Query': {'VolumeId': 'scan_2'}, 'Contrast': 'organ=lung'}
    answer = service.post('/evidence', request).json
    assert answer == {**{key: command[key] for key in ('Evidence', 'EvidenceCases', 'Contrast')}, 'Notice': NOTICE}
    for match in without_paths(command)['Matches']:
        got = service.post('/matches', {'Query': {'VolumeId': 'scan_2'}, 'VolumeId': match['VolumeId']}).json
        match.pop('Rank')
        assert got == {**match, 'Notice': NOTICE}
    part = ok_json('search', own, f'{own}:scan_2', '--slices', '3:6', '--score', 'symmetric', '--exclude', 'none')
    match = without_paths(part)['Matches'][1]
    got = service.post('/matches', {'Query': {'VolumeId': 'scan_2', 'Slices': [3, 6]}, 'VolumeId': match['VolumeId'],
                                    'Score': 'symmetric'}).json
    assert got['SliceMatches'] == match['SliceMatches'] and got['Score'] == match['Score']
    assert service.post('/matches', {'Query': {'VolumeId': 'scan_2'}, 'VolumeId': 'nobody'}).status == 404


@pytest.mark.parametrize('request_, word', [
    ({}, 'Query'), ({'Query': {}}, 'VolumeId'), ({'Query': {'VolumeId': 'scan_1'}, 'Limt': 3}, 'Limt'),
    ({'Query': {'VolumeId': 'scan_1', 'Slice': 3}}, 'Slice'), ({'Query': {'VolumeId': 1}}, 'VolumeId'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Limit': 0}, 'Limit'), ({'Query': {'VolumeId': 'scan_1'}, 'Limit': 1e3}, 'Limit'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Limit': 201}, '200'), ({'Query': {'VolumeId': 'scan_1'}, 'Score': 'best'}, 'best'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Exclude': 'me'}, 'Exclude'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Neighbours': 4}, 'Neighbours'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Neighbours': 201}, 'Neighbours'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Contrast': '=x'}, 'Contrast'),
    ({'Query': {'VolumeId': 'scan_1'}, 'Where': 'organ ='}, 'filter'),
    ({'Query': {'VolumeId': 'scan_1', 'Slices': [5, 2]}}, 'Slices'),
    ({'Query': {'VolumeId': 'scan_1', 'Slices': [2, 500]}}, 'slice'),
    ({'Query': {'VolumeId': 'scan_1', 'Slices': [2]}}, 'Slices'),
    ({'Query': {'VolumeId': 'scan_1', 'Box': {'Rows': [1, 2]}}}, 'Box'),
    ({'Query': {'VolumeId': 'scan_1', 'Slices': [1, 2], 'Box': {'Rows': [1, 2], 'Columns': [1, 2], 'Slices': [1, 2]}}},
     'not both'),
])
def test_bad_requests_are_refused_by_name(service, request_, word):
    answer = service.post('/search', request_)
    assert answer.status == 400 and word in answer.json['Message'], answer.body


def test_many_clients_at_once(service):
    """Every answer is what one client alone gets, none is an error."""
    def asked(i):
        answer = service.post('/search', {'Query': {'VolumeId': f'scan_{1 + i % 3}'}, 'Limit': 3})
        return answer.status, [(m['VolumeId'], m['Score'], m['SliceMatches']) for m in answer.json['Matches']]

    alone = [asked(i) for i in range(3)]
    assert all(status == 200 for status, _ in alone)
    with concurrent.futures.ThreadPoolExecutor(32) as clients:
        assert list(clients.map(asked, range(320))) == [alone[i % 3] for i in range(320)]


def test_unknown_volumes(service):
    answer = service.post('/search', {'Query': {'VolumeId': 'nobody'}})
    assert answer.status == 404 and answer.json['HttpStatus'] == 404
    for upload in ('0' * 32, '../../etc', 'x'):
        assert service.post('/search', {'Query': {'VolumeId': 'a', 'UploadId': upload}}).status == 404
    assert service.get('/uploads/' + '0' * 32).status == 404 and service.get('/jobs/' + '0' * 32).status == 404


def test_report(service, own):
    job = service.finish(service.post('/report', {'Query': {'VolumeId': 'scan_1'}, 'Limit': 3}))
    assert job['State'] == 'done', job
    answer = service.get(job['Result']['Report'].removeprefix('/api/v1'))
    page = answer.body.decode()
    assert answer.status == 200 and answer.headers['Content-Type'].startswith('text/html')
    assert 'attachment' in answer.headers['Content-Disposition']
    assert str(own) not in page and str(own.parent) not in page
    assert NOTICE in page.lower() and 'scan_1' in page and page.count('data:image/png') >= 3
    assert service.delete(f'/jobs/{job["JobId"]}').status == 204
    assert service.get(job['Result']['Report'].removeprefix('/api/v1')).status == 404
    assert service.get(f'/jobs/{job["JobId"]}').status == 404


# ---------------------------------------------------------------- uploads


def test_upload_is_a_query(service, own, scans, tmp_path):
    """NIfTI, a DICOM series and rubbish together: what can be read is, and what cannot is named."""
    rng = np.random.default_rng(3)
    save_dicom(tmp_path / 'series', body(rng, 40, 12), '1.2.3.1')
    save_nifti(tmp_path / 'new scan.nii', body(rng, 40, 14))
    whole = (scans / 'scan_4.nii.gz').read_bytes()
    files = [tmp_path / 'new scan.nii', *sorted((tmp_path / 'series').iterdir()), ('broken.nii.gz', whole[:len(whole) // 2]),
             ('letter.txt', b'dear all'), ('../../../evil.nii', b'x' * 400), ('', b'')]
    job = service.finish(service.send_files('/uploads', files))
    assert job['State'] == 'done' and job['Kind'] == 'upload', job
    result = job['Result']
    assert [v['VolumeId'] for v in result['Volumes']] == ['1.2.3.1', 'new_scan']
    assert sorted(r['File'] for r in result['Refused']) == ['', 'broken.nii.gz', 'evil.nii', 'letter.txt']
    assert str(service.state) not in str(job) and 'uploads/' not in str(job)
    assert not any('Path' in v for v in result['Volumes'])
    upload = result['UploadId']
    assert service.get(f'/uploads/{upload}').json == {'UploadId': upload, 'Volumes': result['Volumes']}
    for volume_id, source in (('new_scan', tmp_path / 'new scan.nii'), ('1.2.3.1', tmp_path / 'series')):
        command = ok_json('search', own, source, '--limit', '4')
        command['Query']['VolumeId'] = volume_id
        same(found(service, Query={'VolumeId': volume_id, 'UploadId': upload}, Limit=4), command)
    assert ok_json('stat', own)['Volumes'] == 9
    job = service.finish(service.post('/report', {'Query': {'VolumeId': 'new_scan', 'UploadId': upload}, 'Limit': 1}))
    assert job['State'] == 'done'
    assert service.delete(f'/uploads/{upload}').status == 204
    assert service.get(f'/uploads/{upload}').status == 404
    assert not list((service.state / 'uploads').iterdir()) and not list((service.state / 'incoming').iterdir())


def test_slab_of_a_few_slices_is_a_query_too(service, tmp_path):
    save_nifti(tmp_path / 'slab.nii.gz', body(np.random.default_rng(1), 40, 3))
    job = service.finish(service.send_files('/uploads', [tmp_path / 'slab.nii.gz']))
    assert job['Result']['Volumes'][0]['Slices'] == 3 and job['Result']['Refused'] == []


def test_query_of_a_fitted_archive(own, tmp_path):
    """An upload is encoded by the base encoder; the search whitens it."""
    ok('fit', own, tmp_path / 'fitted', '--dims', '16')
    save_nifti(tmp_path / 'q.nii.gz', body(np.random.default_rng(8), 40, 12))
    with Api(tmp_path / 'fitted') as s:
        upload = s.finish(s.send_files('/uploads', [tmp_path / 'q.nii.gz']))['Result']['UploadId']
        same(found(s, Query={'VolumeId': 'q', 'UploadId': upload}),
             ok_json('search', tmp_path / 'fitted', tmp_path / 'q.nii.gz'))
        added = s.finish(s.post(f'/uploads/{upload}/add'))
        assert added['Result']['Added'] == ['q']


def test_add(service, own, scans, tmp_path):
    """Files go into the archive and stay; the same again is present; the id of another scan is refused."""
    rng = np.random.default_rng(6)
    save_nifti(tmp_path / 'fresh.nii.gz', body(rng, 40, 12))
    files = [tmp_path / 'fresh.nii.gz', scans / 'scan_2.nii.gz', ('scan_3.nii.gz', (scans / 'scan_4.nii.gz').read_bytes())]
    job = service.finish(service.send_files('/volumes', files))
    assert job['State'] == 'done' and job['Result']['Added'] == ['fresh'] and job['Result']['Present'] == ['scan_2']
    assert [r['File'] for r in job['Result']['Refused']] == ['scan_3.nii.gz']
    assert job['Result']['Refused'][0]['Status'] == 'CMIR_EEXIST'
    path = ok_json('show', own, 'fresh')['Path']
    assert os.path.exists(path) and str(service.state / 'sources') in path
    assert found(service, Query={'VolumeId': 'fresh'})['Query']['VolumeId'] == 'fresh'
    assert service.get('/system').json['Archive']['Volumes'] == ok_json('stat', own)['Volumes'] == 10
    again = service.finish(service.send_files('/volumes', [tmp_path / 'fresh.nii.gz']))
    assert again['Result'] == {'Added': [], 'Present': ['fresh'], 'Refused': []}
    assert len(list((service.state / 'sources').iterdir())) == 1  # nothing refers to the second copy
    assert os.path.exists(path)
    ok('verify', own)


def test_upload_becomes_part_of_the_archive(service, own, tmp_path):
    save_nifti(tmp_path / 'later.nii.gz', body(np.random.default_rng(7), 40, 12))
    save_dicom(tmp_path / 'd', body(np.random.default_rng(8), 40, 9), '1.2.3.4')
    upload = service.finish(service.send_files('/uploads', [tmp_path / 'later.nii.gz', *(tmp_path / 'd').iterdir()]))
    upload = upload['Result']['UploadId']
    job = service.finish(service.post(f'/uploads/{upload}/add'))
    assert sorted(job['Result']['Added']) == ['1.2.3.4', 'later']
    assert service.delete(f'/uploads/{upload}').status == 204
    for volume in ('later', '1.2.3.4'):
        assert os.path.exists(ok_json('show', own, volume)['Path'])
    page = service.finish(service.post('/report', {'Query': {'VolumeId': '1.2.3.4'}, 'Limit': 1}))
    assert page['State'] == 'done'


def test_archive_that_another_process_writes(service, own, tmp_path):
    """A job waits its turn; a request says 503 and when to come again."""
    with open(own / 'lock') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = service.post('/labels', 'name,x\nscan_1,1\n', type='text/csv')
        assert answer.status == 503 and answer.headers['Retry-After']
        save_nifti(tmp_path / 'w.nii.gz', body(np.random.default_rng(9), 40, 12))
        answer = service.send_files('/volumes', [tmp_path / 'w.nii.gz'])
        place = answer.headers['Location'].removeprefix('/api/v1')
        for _ in service.patiently():
            job = service.get(place).json
            if (job['Progress'] or {}).get('What') == 'waiting':
                break
        assert job['State'] == 'running'
    assert service.finish(answer)['Result']['Added'] == ['w']


# ---------------------------------------------------------------- jobs that are broken off


def wait_for(service, place, what='encoding'):
    for _ in service.patiently():
        job = service.get(place).json
        assert job['State'] in ('queued', 'running'), job
        if (job['Progress'] or {}).get('What') == what and job['Progress']['Done'] > 0:
            return job
    raise AssertionError(job)


def begin(service, path, files):
    answer = service.send_files(path, files)
    place = answer.headers['Location'].removeprefix('/api/v1')
    return answer, place, wait_for(service, place)


def test_progress(service, big):
    answer, _, job = begin(service, '/uploads', big)
    child = service.children()[0]
    limits = open(f'/proc/{child}/limits').read()
    assert re.search('Max core file size *0 ', limits) and re.search('Max cpu time *21600 ', limits)
    nice = int(open(f'/proc/{child}/stat').read().rsplit(')', 1)[1].split()[16])
    assert nice == min(19, os.getpriority(os.PRIO_PROCESS, service.process.pid) + 10)
    os.kill(child, signal.SIGTERM)  # as who stops the service does to all its processes: it waits to be told
    p = job['Progress']
    assert 0 < p['Done'] <= p['Total'] and p['PerSecond'] > 0 and p['EtaSeconds'] >= 0
    job = service.finish(answer)
    assert job['Progress'] is None and len(job['Result']['Volumes']) == 2


def test_cancel(service, big):
    answer, place, job = begin(service, '/uploads', big)
    later = service.send_files('/uploads', big[:1])
    assert service.delete(later.headers['Location'].removeprefix('/api/v1')).status == 204  # still queued
    assert service.delete(place).status == 204
    assert service.finish(answer)['State'] == service.finish(later)['State'] == 'cancelled'
    assert not list((service.state / 'uploads').iterdir())
    assert service.children() == []
    assert service.delete(place).status == 204 and service.get(place).status == 404


def test_death_of_the_process_that_reads_harms_one_volume_only(service, own, big):
    """As a file would do on which a decoder crashes: the volume at work is left out, the others go on."""
    answer, _, _ = begin(service, '/volumes', big)
    os.kill(service.children()[0], signal.SIGKILL)
    job = service.finish(answer)
    assert job['State'] == 'done', job
    assert len(job['Result']['Added']) == 1 and 'died' in job['Result']['Refused'][0]['Message']
    assert {*job['Result']['Added'], job['Result']['Refused'][0]['VolumeId']} == {'big_a', 'big_b'}
    assert 'cmir_job_deaths_total 1' in service.get('/metrics').body.decode()
    ok('verify', own)


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_restart(own, big, how):
    """What was accepted is done, though the service ends in the middle of it; nothing is left running."""
    with Api(own, '--threads', '1') as s:
        begin(s, '/volumes', big)
        queued = s.send_files('/uploads', big[:1])
        children = s.children()
        started = time.monotonic()
        code = s.stop(how)
        assert children and (how == signal.SIGKILL or code == 0), s.log()
        assert how == signal.SIGKILL or time.monotonic() - started < 60
    with Api(own) as s:
        jobs = s.get('/jobs').json['Jobs']
        assert [j['Kind'] for j in jobs] == ['add', 'upload']  # as they were accepted
        for _ in s.patiently():
            done = [s.get(f'/jobs/{j["JobId"]}').json for j in jobs]
            if not {j['State'] for j in done} & {'queued', 'running'}:
                break
        assert all(j['State'] == 'done' for j in done), done
        by_kind = {j['Kind']: j['Result'] for j in done}
        assert sorted(by_kind['add']['Added'] + by_kind['add']['Present']) == ['big_a', 'big_b'], done
        assert [v['VolumeId'] for v in by_kind['upload']['Volumes']] == ['big_a'] and queued.status == 202
        for volume in ('big_a', 'big_b'):
            assert os.path.exists(ok_json('show', own, volume)['Path'])
        assert not [pid for pid in children if alive(pid)]
    ok('verify', own)


def test_job_files_that_are_damaged_do_not_stop_the_service(own):
    with Api(own):
        pass
    (own / 'service/jobs' / ('a' * 32 + '.json')).write_text('{"JobId": ')
    (own / 'service/jobs' / ('b' * 32 + '.json')).write_text('{"Kind": "none"}')
    with Api(own) as s:
        assert s.get('/jobs').json == {'Jobs': []}


def test_jobs_of_one_user_are_bounded(service, big):
    """A few dozen wait behind one that takes a while; then the user is asked to come later."""
    begin(service, '/uploads', big)
    answers = [service.send_files('/uploads', [('x.nii', b'x')]).status for _ in range(60)]
    assert set(answers) == {202, 429} and answers.index(429) >= 31, answers
    assert service.post('/search', {'Query': {'VolumeId': 'scan_1'}}).status == 200


# ---------------------------------------------------------------- labels, feedback, cohorts


def test_labels(service, own):
    answer = service.post('/labels', 'name,grade,PatientAge\nscan_1,3,44\nscan_2.nii.gz,-1,\nnobody,4,\n',
                          type='text/csv')
    assert answer.status == 200 and answer.json == {'Labelled': 2, 'Unknown': ['nobody']}
    assert ok_json('show', own, 'scan_1')['Labels']['grade'] == '3'
    command = ok_json('list', own)['Volumes']
    for label in service.get('/labels').json['Labels']:
        values = [v['Labels'][label['Name']] for v in command if label['Name'] in v['Labels']]
        assert label['Volumes'] == len(values) and label['DistinctValues'] == len(set(values))
        assert label['Values'] == sorted(set(values), key=lambda v: (-values.count(v), v))[:20]
    for bad in ('name,a,a\nx,1,2\n', 'name,a\n"x', 'name,PatientAge\nscan_1,old\n'):
        answer = service.post('/labels', bad, type='text/csv')
        assert answer.status == 422 and str(service.state) not in answer.json['Message'], answer.body
    assert not list((service.state / 'incoming').iterdir())


def test_feedback(service):
    def say(volume, relevant, **more):
        answer = service.post('/feedback', {'QueryId': 'q 1', 'VolumeId': volume, 'Relevant': relevant, **more})
        assert answer.status == 204, answer.body

    def heard(query='q%201'):
        return {f['VolumeId']: f['Relevant'] for f in service.get(f'/feedback?query={query}').json['Feedback']}
    say('scan_1', True, QuerySlices=[1, 4], MatchSlices=[0, 0])
    say('scan_2', True)
    say('scan_2', False)
    say('scan_3', False)
    say('scan_3', None)
    assert heard() == {'scan_1': True, 'scan_2': False} and heard('other') == {}
    with open(service.state / 'feedback.jsonl', 'a') as f:
        f.write('{"QueryId": "q 1", "Vol')  # a crash in the middle of a line
    assert heard() == {'scan_1': True, 'scan_2': False}
    for bad in ({}, {'QueryId': 'q', 'VolumeId': 'v'}, {'QueryId': 'q', 'VolumeId': 'v', 'Relevant': 1},
                {'QueryId': 'q', 'VolumeId': 'v', 'Relevant': True, 'Other': 1},
                {'QueryId': 'q', 'VolumeId': 'v', 'Relevant': True, 'QuerySlices': [3, 1]},
                {'QueryId': 'q' * 300, 'VolumeId': 'v', 'Relevant': True}):
        assert service.post('/feedback', bad).status == 400
    assert service.get('/feedback').status == 400


def test_cohorts(service, own):
    service.post('/labels', 'name,note,delta\nscan_0,=1+1,-5\nscan_1,"a, ""b""",2\nscan_2,@x,\n', type='text/csv')
    wanted = {'Name': 'nodules', 'Note': 'to ask Anna', 'Volumes': ['scan_1', 'scan_0', 'scan_2', 'gone'],
              'Query': {'VolumeId': 'scan_4', 'Slices': [1, 3]}}
    answer = service.post('/cohorts', wanted)
    assert answer.status == 201
    place = answer.headers['Location'].removeprefix('/api/v1')
    cohort = service.get(place).json
    assert cohort == answer.json and {k: cohort[k] for k in wanted} == wanted
    assert service.get('/cohorts').json['Cohorts'] == [cohort]

    exported = service.get(place + '.json').json
    assert exported['Missing'] == ['gone'] and exported['Notice'] == NOTICE
    by_id = {v['VolumeId']: v for v in ok_json('list', own)['Volumes']}
    for v in by_id.values():
        del v['Path']
    assert exported['Volumes'] == [by_id[i] for i in wanted['Volumes'][:3]]

    answer = service.get(place + '.csv')
    assert answer.headers['Content-Type'].startswith('text/csv') and 'attachment' in answer.headers['Content-Disposition']
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline='')))
    assert [r['VolumeId'] for r in rows] == ['scan_1', 'scan_0', 'scan_2']
    assert [r['note'] for r in rows] == ['a, "b"', "'=1+1", "'@x"]  # a spreadsheet would run them
    assert [r['delta'] for r in rows] == ['2', '-5', ''] and rows[0]['StudyInstanceUID'] == ''
    assert rows[0]['Slices'] == str(by_id['scan_1']['Slices'])

    changed = service.ask('PUT', place, {'Name': 'other', 'Volumes': []})
    assert changed.status == 200 and changed.json['Note'] == '' and changed.json['Created'] == cohort['Created']
    assert service.get(place).json == changed.json and 'Query' not in changed.json
    assert service.delete(place).status == 204 and service.get(place).status == 404
    for bad in ({}, {'Name': '', 'Volumes': []}, {'Name': 'x'}, {'Name': 'x', 'Volumes': [1]},
                {'Name': 'x', 'Volumes': [], 'More': 1}, {'Name': 'x' * 300, 'Volumes': []},
                {'Name': 'x', 'Volumes': ['v'] * 10001}, {'Name': 'x', 'Volumes': [], 'Query': 3}):
        assert service.post('/cohorts', bad).status == 400, bad
    assert service.get('/cohorts/..%2f..%2faudit').status == 404


# ---------------------------------------------------------------- who sees what


USERS = {'rita': 'reader', 'cora': 'contributor', 'ada': 'admin', 'ron': 'reader'}


@pytest.fixture
def shared(own):
    """A service with users, and each of them as a function that gives `user=`."""
    for name, role in USERS.items():
        ok('user', 'add', own, name, '--role', role, input=f'password of {name}\n')
    with Api(own) as s:
        yield s, {name: {'user': (name, f'password of {name}')} for name in USERS}


def test_users_see_their_own(shared, tmp_path):
    service, who = shared
    rita, ron, ada, cora = (who[name] for name in ('rita', 'ron', 'ada', 'cora'))
    save_nifti(tmp_path / 'mine.nii.gz', body(np.random.default_rng(4), 40, 12))
    files = [tmp_path / 'mine.nii.gz']
    job = service.finish(service.send_files('/uploads', files, **rita), **rita)
    upload, place = job['Result']['UploadId'], f'/jobs/{job["JobId"]}'
    search = {'Query': {'VolumeId': 'mine', 'UploadId': upload}}
    assert service.post('/search', search, **rita).status == 200
    assert service.post('/search', search, **ron).status == service.post('/search', search, **ada).status == 404
    assert service.post('/report', search, **ron).status == 404
    for method, path in (('GET', f'/uploads/{upload}'), ('DELETE', f'/uploads/{upload}'), ('GET', place),
                         ('DELETE', place)):
        assert service.ask(method, path, **ron).status == 404
    assert service.get('/jobs', **ron).json == {'Jobs': []} and service.get(place, **ada).status == 200
    assert service.post(f'/uploads/{upload}/add', **rita).status == 403
    assert service.send_files('/volumes', files, **rita).status == 403
    assert service.post('/labels', 'name,x\nscan_1,1\n', type='text/csv', **rita).status == 403
    assert service.post('/labels', 'name,x\nscan_1,1\n', type='text/csv', **cora).status == 200
    assert service.finish(service.send_files('/volumes', files, **cora), **cora)['Result']['Added'] == ['mine']

    cohort = service.post('/cohorts', {'Name': 'hers', 'Volumes': ['scan_1']}, **rita)
    place = cohort.headers['Location'].removeprefix('/api/v1')
    for suffix in ('', '.csv', '.json'):
        assert service.get(place + suffix, **ron).status == 404
    assert service.ask('PUT', place, {'Name': 'x', 'Volumes': []}, **ron).status == 404
    assert service.delete(place, **ron).status == 404 and service.get('/cohorts', **ron).json == {'Cohorts': []}
    assert service.get(place, **ada).status == 200
    service.post('/feedback', {'QueryId': 'q', 'VolumeId': 'v', 'Relevant': True}, **rita)
    assert service.get('/feedback?query=q', **ron).json == {'Feedback': []}
    assert len(service.get('/feedback?query=q', **rita).json['Feedback']) == 1


def test_audit(shared, own, tmp_path):
    """Who searched what and saw what, before it was shown; who added, exported, labelled."""
    service, who = shared
    rita, cora = who['rita'], who['cora']
    result = service.post('/search', {'Query': {'VolumeId': 'scan_1'}, 'Limit': 3}, **rita).json
    hits = [m['VolumeId'] for m in result['Matches']]
    service.finish(service.post('/report', {'Query': {'VolumeId': 'scan_1'}, 'Limit': 3}, **rita), **rita)
    service.post('/labels', 'name,x\nscan_1,1\n', type='text/csv', **cora)
    save_nifti(tmp_path / 'new.nii.gz', body(np.random.default_rng(4), 40, 12))
    service.finish(service.send_files('/volumes', [tmp_path / 'new.nii.gz'], **cora), **cora)
    place = service.post('/cohorts', {'Name': 'c', 'Volumes': ['scan_1']}, **rita).headers['Location']
    service.get(place.removeprefix('/api/v1') + '.csv', **rita)
    log = (service.state / 'audit.jsonl').read_text().splitlines()
    lines = [{k: e.get(k) for k in ('User', 'What', 'Query', 'Hits')} for e in map(json.loads, log)]
    for line in ({'User': 'rita', 'What': 'search', 'Query': 'scan_1', 'Hits': hits},
                 {'User': 'rita', 'What': 'report', 'Query': 'scan_1', 'Hits': hits},
                 {'User': 'cora', 'What': 'add', 'Query': None, 'Hits': ['new']},
                 {'User': 'rita', 'What': 'cohort-export', 'Query': None, 'Hits': ['scan_1']}):
        assert line in lines, lines
    assert any(e['What'] == 'labels' and e['User'] == 'cora' for e in lines)
    service.stop()
    ok('audit', 'verify', own)
    assert 'scan_1' not in service.log() and 'ANNA' not in service.log()  # the log for operators names nobody
