# SPDX-License-Identifier: Apache-2.0
"""What is too much for the service, and what becomes of files that are sent to it."""
import http.client
import os
import resource
import socket
import threading
import time

import pytest
from cli_help import archive, body, labels, own, scans  # noqa: F401
from service import Service
from service_core import open_service  # noqa: F401


# ---------------------------------------------------------------- too much


def test_large_headers(open_service):
    for lines in [b'X: ' + b'a' * 200000, b'\r\n'.join(b'X%d: a' % i for i in range(20000))]:
        got = open_service.raw(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n' + lines + b'\r\n\r\n')
        assert got == b'' or got.startswith((b'HTTP/1.1 431', b'HTTP/1.1 400', b'HTTP/1.1 413')), got[:100]
    got = open_service.raw(b'GET /' + b'a' * 300000 + b' HTTP/1.1\r\nHost: localhost\r\n\r\n')
    assert got == b'' or got.startswith((b'HTTP/1.1 414', b'HTTP/1.1 431')), got[:100]
    assert open_service.get('/healthz').status == 200


@pytest.mark.parametrize('data', [
    b'\0' * 1000, b'GET', b'GET /healthz\r\n\r\n', b'\r\n\r\n\r\n', b'GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n',
    b'GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    b'* /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    b'OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n',
    b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n',
    b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
    b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
    b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
    b'Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n',
    bytes(range(256)) * 10])
def test_what_is_no_http(open_service, data):
    with socket.create_connection(('127.0.0.1', open_service.port), 60) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    assert open_service.get('/healthz').status == 200


@pytest.mark.parametrize('sent, kind, status', [
    (b'{"User": "' + b'a' * (1 << 20) + b'", "Password": "b"}', 'application/json', 413),
    (b'[' * 100000, 'application/json', 400), (b'{"a":' * 33 + b'1' + b'}' * 33, 'application/json', 400),
    (b'{"User": "a", "User": "b", "Password": "c"}', 'application/json', 400), (b'', 'application/json', 400),
    (b'{', 'application/json', 400), (b'{"a": "\xff"}', 'application/json', 400), (b'{"a": "\\u0000"}', 'application/json', 400),
    (b'{"a": 1e999}', 'application/json', 400), (b'{}', 'text/plain', 415), (b'{}', None, 415),
    (b'{}', 'application/json; charset=utf-8', 400), (b'{}', 'application/jsonx', 415)])
def test_bad_json(open_service, sent, kind, status):
    headers = {} if kind is None else {'Content-Type': kind}
    answer = open_service.post('/api/v1/session', sent, headers=headers)
    assert answer.status == status, answer
    assert answer.json['HttpStatus'] == status


def test_a_large_body_is_refused_before_it_comes(open_service):
    """The client waits for leave, and does not get it."""
    got = open_service.raw(b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
                           b'Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n')
    assert got.startswith(b'HTTP/1.1 413'), got[:100]


def test_a_chunked_body_has_the_same_limit(open_service):
    def chunks():
        for _ in range(20):
            yield b'a' * 100000
    connection = open_service.connect()
    connection.request('POST', '/api/v1/session', chunks(), {'Content-Type': 'application/json'}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_where_none_is_wanted(open_service):
    assert open_service.ask('DELETE', '/api/v1/session', b'x').status == 413
    assert open_service.get('/healthz').status == 200


def test_many_connections(own):
    """More connections than one address may have: those are refused, and afterwards all is well."""
    with Service(own) as service:
        held = []
        try:
            for _ in range(100):
                held.append(socket.create_connection(('127.0.0.1', service.port), 60))
        finally:
            for s in held:
                s.close()
        until = time.time() + 60
        while time.time() < until:
            try:
                assert service.get('/healthz').status == 200
                break
            except (ConnectionError, http.client.HTTPException):
                time.sleep(.2)
        assert service.get('/healthz').status == 200


def test_slow_clients_are_cut(open_service):
    """One who sends nothing, one who sends a header a byte at a time, one who dribbles a body: all in one minute or so."""
    def silent(s):
        pass

    def dribble_header(s):
        s.sendall(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ')
        while True:
            s.sendall(b'a')
            time.sleep(1)

    def dribble_body(s):
        s.sendall(b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
                  b'Content-Length: 100000\r\n\r\n')
        while True:
            s.sendall(b'[')
            time.sleep(1)

    took = {}

    def attack(how):
        with socket.create_connection(('127.0.0.1', open_service.port), 120) as s:
            start = time.time()
            sender = threading.Thread(target=lambda: quiet(how, s), daemon=True)
            sender.start()
            try:
                while s.recv(1000):
                    pass
            except OSError:
                pass
            took[how.__name__] = time.time() - start

    def quiet(how, s):
        try:
            how(s)
        except OSError:
            pass

    threads = [threading.Thread(target=attack, args=[how]) for how in (silent, dribble_header, dribble_body)]
    for thread in threads:
        thread.start()
    time.sleep(5)
    assert open_service.get('/healthz').status == 200  # meanwhile
    for thread in threads:
        thread.join()
    assert len(took) == 3 and max(took.values()) < 90 and min(took.values()) > 15, took


# ---------------------------------------------------------------- files


def parts(*parts_, edge=b'edge', end=True):
    """multipart/form-data of (head, data) each."""
    out = b''.join(b'--' + edge + b'\r\nContent-Disposition: form-data; ' + head + b'\r\n\r\n' + data + b'\r\n'
                   for head, data in parts_)
    return out + (b'--' + edge + b'--\r\n' if end else b'')


MULTIPART = {'Content-Type': 'multipart/form-data; boundary=edge'}


def file_part(name, data):
    return b'name="file"; filename="' + name + b'"', data


def left_over(service, patience=60):
    """What uploads have left in the folder for what comes in; nothing, in a while."""
    until = time.time() + patience
    folder = service.archive / 'service/incoming'
    while time.time() < until:
        found = [os.path.join(at, name) for at, folders, files in os.walk(folder) for name in folders + files]
        if not found:
            return []
        time.sleep(.2)
    return found


@pytest.mark.parametrize('name', [b'../../../../tmp/x', b'/etc/x', b'..', b'.', b'', b'a' * 5000, b'C:\\x', b'\xff\xfe',
                                  b'a\x01b', b'x.nii.gz/..', 'Zoë.nii'.encode()])
def test_names_of_files_are_nothing_but_names(open_service, name):
    """Whatever a file is called: it is kept under a name of ours, and shown as its last part at most."""
    answer = open_service.post('/api/v1/uploads', parts(file_part(name, b'no scan')), headers=MULTIPART)
    assert answer.status in (202, 400), answer
    if answer.status == 202:
        until = time.time() + 240
        while (job := open_service.get(answer.headers['Location']).json)['State'] in ('queued', 'running'):
            assert time.time() < until
            time.sleep(.1)
        shown = [refused_['File'] for refused_ in (job['Result'] or {'Refused': []})['Refused']]
        assert not any('/' in file or '\\' in file or file == '..' for file in shown), job
    assert left_over(open_service) == []


@pytest.mark.parametrize('sent, headers, status', [
    (parts(file_part(b'a.nii', b'x' * 1000), end=False), MULTIPART, 400),
    (parts(file_part(b'a.nii', b'x' * 1000))[:500], MULTIPART, 400),
    (b'', MULTIPART, 400), (b'no parts at all', MULTIPART, 400), (b'--edge--\r\n', MULTIPART, 400),
    (b'--other\r\n\r\n--other--\r\n', MULTIPART, 400),
    (b'--edge\r\nContent-Disposition: form-data; filename="a"\r\n' + b'X: y\r\n' * 20000 + b'\r\n', MULTIPART, 400),
    (parts((b'name="a"', b'x' * 70000)), MULTIPART, 413),
    (parts(*[(b'name="f%d"' % i, b'x') for i in range(40)]), MULTIPART, 400),
    (parts((b'name="a"', b'\xff')), MULTIPART, 400), (parts((b'name="a\x02"', b'x')), MULTIPART, 400),
    (b'x', {'Content-Type': 'multipart/form-data'}, 400), (b'x', {'Content-Type': 'multipart/form-data; boundary='}, 400),
    (b'a=b', {'Content-Type': 'application/x-www-form-urlencoded'}, 415), (b'x', {}, 415)])
def test_bad_uploads(open_service, sent, headers, status):
    answer = open_service.post('/api/v1/uploads', sent, headers=headers)
    assert answer.status == status, answer
    assert left_over(open_service) == []


def test_an_upload_that_breaks_off(open_service):
    with socket.create_connection(('127.0.0.1', open_service.port), 60) as s:
        s.sendall(b'POST /api/v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n'
                  b'Content-Length: 10000000\r\n\r\n' + parts(file_part(b'a.nii', b'x' * 300000), end=False))
        until = time.time() + 60
        while not list((open_service.archive / 'service/incoming').rglob('000001.nii')):
            assert time.time() < until
            time.sleep(.1)
    assert left_over(open_service) == []
    assert open_service.get('/healthz').status == 200


def test_an_upload_over_the_limit(own):
    with Service(own, '--upload-limit', 100000) as service:
        service.archive = own
        sent = parts(file_part(b'a.nii', b'x' * 200000))
        assert service.post('/api/v1/uploads', sent, headers=MULTIPART).status == 413
        connection = service.connect()
        connection.request('POST', '/api/v1/uploads', (sent[i:i + 10000] for i in range(0, len(sent), 10000)), MULTIPART,
                           encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert left_over(service) == []
        assert service.post('/api/v1/uploads', parts(file_part(b'a.nii', b'x' * 90000)), headers=MULTIPART).status == 202


def test_more_files_than_it_takes(own):
    with Service(own) as service:
        service.archive = own
        most = service.get('/api/v1/system').json['Limits']['UploadFiles']
        answer = service.post('/api/v1/uploads', parts(*[file_part(b'%d' % i, b'') for i in range(most + 1)]),
                              headers=MULTIPART)
        assert answer.status == 413 and 'more files' in answer.json['Message'], answer
        assert left_over(service) == []


def test_no_space_for_an_upload(own):
    """A file larger than the system lets this process write stands for a full disk."""
    with Service(own, limits={resource.RLIMIT_FSIZE: 1 << 20}) as service:
        service.archive = own
        answer = service.post('/api/v1/uploads', parts(file_part(b'a.nii', b'x' * (3 << 20))), headers=MULTIPART)
        assert answer.status == 507, answer
        assert left_over(service) == []
        assert service.get('/healthz').status == 200
