# SPDX-License-Identifier: Apache-2.0
"""What the service answers, what it writes down, how it starts and ends, and that openapi.json tells all of it."""
import hashlib
import json
import os
import re
import resource
import signal
import socket
import stat
import threading
import time

import pytest
from cli_help import NOTICE, archive, body, labels, ok, ok_json, own, refused, run, scans  # noqa: F401
from service import PASSWORD, Service
from service_core import ROUTES, TYPES, add_user, audit, guarded, open_service, refused_start  # noqa: F401


# ---------------------------------------------------------------- answers


SECURE = {
    'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'X-Frame-Options': 'DENY',
    'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Resource-Policy': 'same-origin',
}


@pytest.mark.parametrize('method, path, status', [
    ('GET', '/', 200), ('GET', '/healthz', 200), ('HEAD', '/healthz', 200), ('GET', '/openapi.json', 200),
    ('GET', '/api/v1/system', 200), ('GET', '/metrics', 200), ('GET', '/nothing', 404), ('GET', '/api/v1/nothing', 404),
    ('POST', '/healthz', 405), ('DELETE', '/api/v1/session', 204), ('POST', '/api/v1/session', 415),
    ('GET', '/healthz?x=%zz', 400), ('GET', '/%', 400), ('BREW', '/healthz', 405), ('GET', '/a%00b', 400),
    ('GET', '/a%0ab', 400), ('GET', '/%ff%fe', 400), ('GET', '//', 404), ('GET', '/' + 'a/' * 20, 404),
    ('GET', '/healthz?' + '&'.join(f'a{i}=1' for i in range(40)), 400)])
def test_every_answer_is_guarded(open_service, method, path, status):
    answer = open_service.ask(method, path)
    assert answer.status == status, answer
    for name, value in SECURE.items():
        assert answer.headers[name] == value
    policy = dict(part.strip().split(' ', 1) for part in answer.headers['Content-Security-Policy'].split(';'))
    assert policy['default-src'] == "'self'" and policy['frame-ancestors'] == policy['base-uri'] == "'none'"
    assert 'unsafe-inline' not in str(policy) and "'unsafe-eval'" not in str(policy)
    assert answer.headers['Permissions-Policy']
    assert 'Access-Control-Allow-Origin' not in answer.headers
    assert 'libmicrohttpd' not in str(answer.headers)
    if status >= 400 and method != 'HEAD':
        assert set(answer.json) == {'HttpStatus', 'Message', 'Details'} and answer.json['HttpStatus'] == status
    if status == 405:
        assert answer.headers['Allow'] == 'GET, HEAD'


def test_head_is_get_without_its_body(open_service):
    for path in ['/', '/openapi.json', '/healthz']:
        head, get = open_service.ask('HEAD', path), open_service.get(path)
        assert head.body == b'' and head.headers['Content-Length'] == str(len(get.body))


def test_cached_files_are_asked_for_again(open_service):
    answer = open_service.get('/openapi.json')
    tag = answer.headers['ETag']
    for header in [tag, 'W/' + tag, f'"other", {tag}', '*']:
        again = open_service.get('/openapi.json', headers={'If-None-Match': header})
        assert (again.status, again.body, again.headers['ETag']) == (304, b'', tag)
    assert open_service.get('/openapi.json', headers={'If-None-Match': '"other"'}).status == 200
    packed = open_service.get('/openapi.json', headers={'Accept-Encoding': 'gzip'})
    if 'Content-Encoding' in packed.headers:
        import gzip
        assert gzip.decompress(packed.body) == answer.body
        assert packed.headers['ETag'] != tag and packed.headers['Vary'] == 'Accept-Encoding'


def test_the_page_says_what_it_is_for(open_service):
    answer = open_service.get('/')
    assert answer.headers['Content-Type'].startswith('text/html')
    texts = [answer.body.decode()]
    for path in re.findall(r'"(/assets/[^"]+|/icon.svg)"', texts[0]):  # where the page was built
        asset = open_service.get(path)
        assert asset.status == 200, path
        assert ('immutable' in asset.headers['Cache-Control']) == path.startswith('/assets/')
        assert open_service.get(path, headers={'If-None-Match': asset.headers['ETag']}).status == 304
        texts.append(asset.body.decode())
    assert any(NOTICE in text.lower() for text in texts)


def test_system(open_service):
    said = open_service.get('/api/v1/system').json
    stat_ = ok_json('stat', open_service.archive)
    for name in ['Volumes', 'Slices', 'Encoder', 'Dim', 'Plane']:
        assert said['Archive'][name] == stat_[name]
    assert said['Version'] == ok('--version').split()[1] and said['Notice'] == NOTICE
    assert 'maxsim' in said['Scores'] and str(open_service.archive) not in json.dumps(said)


def test_traversal_finds_nothing(open_service):
    secret = open_service.archive / 'catalog.sqlite'
    for path in ['/../catalog.sqlite', '/assets/../../catalog.sqlite', '/assets/..%2f..%2fcatalog.sqlite',
                 '/%2e%2e/catalog.sqlite', '/assets/%2e%2e', f'/{secret}', f'/assets/{secret}', '/..;/x', '/.\\..\\x']:
        got = open_service.raw(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'.encode())
        assert got.startswith((b'HTTP/1.1 404', b'HTTP/1.1 400')) and b'SQLite' not in got, path


# ---------------------------------------------------------------- what it writes down


def digest(line):
    return hashlib.sha256(line.encode()).hexdigest()


def test_the_audit_log_is_a_chain(own):
    add_user(own, 'ada', 'admin')
    with Service(own) as service:
        for _ in range(3):
            service.login('ada')
        reader = {'headers': {'X-Cmir': '1'}}
        service.ask('DELETE', '/api/v1/session', cookie=service.login('ada'), **reader)
    lines = (own / 'service/audit.jsonl').read_text().splitlines()
    assert [json.loads(line)['What'] for line in lines] == ['start', 'login', 'login', 'login', 'login', 'stop']
    head = '0' * 64
    for line in lines:
        assert json.loads(line)['Prev'] == head
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', json.loads(line)['Time'])
        head = digest(line)
    assert ok_json('audit', 'verify', own) == {'Lines': 6, 'Sound': True, 'Fault': None, 'Head': head}
    assert ok_json('audit', 'verify', own / 'service/audit.jsonl')['Head'] == head


def tampered(lines, how, at):
    lines = list(lines)
    if how == 'change':
        lines[at] = lines[at].replace('ada', 'eve')
    elif how == 'take out':
        del lines[at]
    elif how == 'swap':
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    elif how == 'put in':
        lines.insert(at, lines[at])
    elif how == 'blank':
        lines.insert(at, '')
    return '\n'.join(lines) + '\n'


@pytest.mark.parametrize('how, at, found', [
    ('change', 2, 4), ('take out', 2, 3), ('take out', 0, 1), ('swap', 1, 2), ('put in', 3, 5), ('blank', 1, 2)])
def test_tampering_is_found(own, tmp_path, how, at, found):
    """`found`: the first line that does not follow, counted from 1."""
    add_user(own, 'ada', 'admin')
    with Service(own) as service:
        for _ in range(4):
            service.login('ada')
    lines = (own / 'service/audit.jsonl').read_text().splitlines()
    path = tmp_path / 'log.jsonl'
    path.write_text(tampered(lines, how, at))
    refused(1, [f'line {found} '], 'audit', 'verify', path)
    done = run('audit', 'verify', path, '--json')
    assert done.returncode == 1 and json.loads(done.stdout)['Lines'] == found - 1


def test_a_line_cut_by_a_crash(own):
    """A kill in the middle of a line: verify says so; the next start goes on, and says so too."""
    log = own / 'service/audit.jsonl'
    with Service(own) as service:
        service.get('/healthz')
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    with log.open('a') as file:
        file.write('{"Time":"2026-01-01T00:00:00Z","User":"a')
    refused(1, ['line 2 is cut short', 'the lines before it are sound'], 'audit', 'verify', own)
    with Service(own):
        pass
    assert [line['What'] for line in audit(own)] == ['start', 'cut-line-removed', 'start', 'stop']
    assert audit(own)[1]['Bytes'] == 40
    assert ok_json('audit', 'verify', own)['Sound']


def test_many_at_once_keep_the_chain(own):
    add_user(own, 'ada', 'admin')
    with Service(own) as service:
        service.login('ada')  # remembered: the others are quick
        threads = [threading.Thread(target=lambda: [service.login('ada') for _ in range(5)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ok_json('audit', 'verify', own)['Lines'] == 1 + 1 + 40 + 1


def test_what_cannot_be_written_down_is_not_done(own):
    """Where the log cannot grow, a login fails, and what is there stays sound."""
    add_user(own, 'ada', 'admin')
    text, head, n_before = '', '0' * 64, 0
    while len(text) < 199000:  # a log that is nearly as large as files may be; the catalogue is smaller
        line = json.dumps({'Time': '2026-01-01T00:00:00Z', 'User': 'x' * 500, 'What': 'login', 'Prev': head})
        text, head, n_before = text + line + '\n', digest(line), n_before + 1
    (own / 'service/audit.jsonl').write_text(text)
    with Service(own, limits={resource.RLIMIT_FSIZE: 201000}) as service:
        for _ in range(40):
            answer = service.post('/api/v1/session', {'User': 'ada', 'Password': PASSWORD})
            if answer.status != 200:
                break
        assert answer.status == 500 and 'Set-Cookie' not in answer.headers
        assert service.get('/healthz').status == 200
    result = ok_json('audit', 'verify', own)
    assert result['Sound'] and n_before + 3 < result['Lines'] < n_before + 40


def test_audit_verify_says_what_it_cannot_read(own, tmp_path):
    refused(1, ['nothing.jsonl'], 'audit', 'verify', tmp_path / 'nothing.jsonl')
    refused(2, ['verify'], 'audit', 'check', own)
    empty = tmp_path / 'empty.jsonl'
    empty.write_text('')
    assert ok_json('audit', 'verify', empty)['Lines'] == 0
    binary = tmp_path / 'binary.jsonl'
    binary.write_bytes(os.urandom(10000) + b'\n')
    refused(1, ['line 1 '], 'audit', 'verify', binary)


def test_denials_are_written_down(guarded):
    before = len(audit(guarded.archive))
    rows = [row for row in ROUTES if row[2] in ('CONTRIBUTOR', 'ADMIN')]
    for method, path, _, body_kind, _, name in rows:
        guarded.ask(method, re.sub(r'\{\w+\}', 'none', path), token=guarded.tokens['reader'])
    added = audit(guarded.archive)[before:]
    assert [(line['User'], line['What']) for line in added] == [('reader', 'denied-' + row[5]) for row in rows]


def test_files_are_private(guarded):
    state = guarded.archive / 'service'
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob('*'):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    text = (state / 'users.json').read_text()
    assert PASSWORD not in text and not any(token in text for token in guarded.tokens.values())
    assert text.count('$argon2id$') == 3


def test_a_state_folder_that_others_could_see(own, tmp_path):
    state = tmp_path / 'state'
    state.mkdir(mode=0o755)
    with Service(own, '--state', state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    if os.getuid() == 0:
        os.chown(state, 12345, 12345)
        refused_start(['another user'], own, '--state', state, '--listen', '127.0.0.1:0')


def test_the_log_names_routes_and_users_only(own):
    add_user(own, 'ada', 'admin')
    with Service(own) as service:
        service.get('/api/v1/volumes/SECRET-PATIENT?where=SECRET', user='ada')
        service.get('/SECRET')
        service.post('/api/v1/session', {'User': 'SECRET', 'Password': 'SECRET'})
        service.get('/api/v1/session', user='ada', headers={'User-Agent': 'SECRET', 'Cookie': 'a=SECRET'})
        assert service.stop() == 0
        lines = service.log().splitlines()
    assert 'SECRET' not in '\n'.join(lines)
    records = [json.loads(line) for line in lines]
    requests = [r for r in records if r['Event'] == 'request']
    assert len(requests) == 4
    # a request is logged when its connection is through with it: two may change places
    assert [r['User'] for r in requests if r['Route'] == 'session' and r['Status'] == 200] == ['ada']
    assert all(re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', r['Time']) for r in records)


def test_metrics_are_prometheus_text(guarded):
    guarded.get('/healthz')
    answer = guarded.get('/metrics', token=guarded.tokens['reader'])
    assert answer.headers['Content-Type'].startswith('text/plain; version=0.0.4')
    kinds, values = {}, {}
    for line in answer.body.decode().splitlines():
        if line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            kinds[name] = kind
        elif not line.startswith('#'):
            found = re.fullmatch(r'([a-z_]+)(\{[^}]*\})? ([0-9.e+-]+)', line)
            assert found, line
            values[found[1], found[2] or ''] = float(found[3])
            assert re.sub('_(bucket|sum|count)$', '', found[1]) in kinds or found[1] in kinds
    assert values['cmir_archive_volumes', ''] == ok_json('stat', guarded.archive)['Volumes']
    health = '{route="health",method="GET",status="200"}'
    assert values['cmir_http_requests_total', health] >= 1
    assert values['process_resident_memory_bytes', ''] > 1e6
    for (name, labels_), count in values.items():
        if name == 'cmir_http_request_seconds_count':
            route = labels_[1:-1]
            steps = [v for (n, l), v in values.items() if n == 'cmir_http_request_seconds_bucket' and l.startswith('{' + route)]
            assert steps == sorted(steps) and steps[-1] == count
    assert kinds['cmir_http_request_seconds'] == 'histogram'


# ---------------------------------------------------------------- start and end


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told(own, number):
    with Service(own) as service:
        idle = service.connect()
        idle.request('GET', '/healthz')
        idle.getresponse().read()  # kept open
        start = time.time()
        assert service.stop(number) == 0
        assert time.time() - start < 30
        idle.close()
        with pytest.raises(OSError):
            service.get('/healthz')


def test_a_request_in_flight_is_answered(own):
    """Told to end with half a request here: its answer still comes."""
    with Service(own) as service:
        with socket.create_connection(('127.0.0.1', service.port), 60) as s:
            sent = json.dumps({'User': 'a', 'Password': 'b'}).encode()
            s.sendall(b'POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
                      b'Content-Length: %d\r\nConnection: close\r\n\r\n' % len(sent))
            time.sleep(.5)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(.5)
            s.sendall(sent)
            assert s.recv(1000).startswith(b'HTTP/1.1 401')
        assert service.process.wait(60) == 0


def test_config_file(own, tmp_path):
    config = tmp_path / 'config.json'
    state = tmp_path / 'state'
    config.write_text(json.dumps({'state': str(state), 'requests-per-minute': 3, 'behind-proxy': False,
                                  'upload-limit': 12345}))
    with Service(own, '--config', config, '--requests-per-minute', 100) as service:
        assert [service.get('/api/v1/session').status for _ in range(5)] == [200] * 5  # the command line wins
        assert service.get('/api/v1/system').json['Limits']['UploadBytes'] == 12345
        assert (state / 'audit.jsonl').exists() and not (own / 'service').exists()
    for text, words in [('{"stat": "x"}', ["'stat'", 'did you mean state']), ('{"state": []}', ["'state'"]),
                        ('[]', ['object']), ('{', ['object']), ('{"config": "x"}', ["'config'"]),
                        ('{"upload-limit": "many"}', ['--upload-limit']), ('{"state": "a", "state": "b"}', ['object'])]:
        config.write_text(text)
        refused_start(words, own, '--config', config)
    refused_start(['nothing.json'], own, '--config', tmp_path / 'nothing.json')


# ---------------------------------------------------------------- openapi.json


def test_openapi_has_the_routes_and_no_others(open_service):
    said = open_service.get('/openapi.json').json
    assert said['openapi'].startswith('3.1')
    listed = {(method.upper(), path) for path, item in said['paths'].items() for method in item if method != 'parameters'}
    own_pages = {('GET', '/{file}'), ('GET', '/assets/{file}')}
    assert listed == {(row[0], row[1]) for row in ROUTES} - own_pages
    for method, path, least, body_kind, _, _ in ROUTES:
        operation = said['paths'].get(path, {}).get(method.lower())
        if operation is not None:
            assert operation['x-least-role'] == least.lower(), path
            kinds = {t.split(';')[0] for t in operation.get('requestBody', {'content': {}})['content']}
            assert (TYPES.get(body_kind, '').split(';')[0] in kinds) == (body_kind != 'NONE'), path
    assert said['info']['version'] == ok('--version').split()[1]
