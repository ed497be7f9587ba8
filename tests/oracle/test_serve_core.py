# SPDX-License-Identifier: Apache-2.0
"""The service as a stranger meets it: who may do what, from where; what is too much; what it writes down; how it
ends."""
import hashlib
import http.client
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time

import pytest
from cli_help import CMIR, NOTICE, archive, body, labels, ok, ok_json, own, refused, run, scans  # noqa: F401
from service_core import PASSWORD, Service, add_user, basic, refused_start

SOURCE = pathlib.Path(os.environ['CMIR_SOURCE'])
ROW = re.compile(r'\{"(\w+)",\s*"([^"]+)",\s*ROLE_(\w+),\s*BODY_(\w+),\s*(\w+),\s*"([^"]+)"\}')
ROUTES = ROW.findall((SOURCE / 'server/routes.c').read_text())
ROLES = ['reader', 'contributor', 'admin']
RANK = {'NONE': 0, 'READER': 1, 'CONTRIBUTOR': 2, 'ADMIN': 3}
TYPES = {'JSON': 'application/json', 'TEXT': 'text/csv', 'FILES': 'multipart/form-data; boundary=x'}


@pytest.fixture(scope='module')
def guarded(archive, tmp_path_factory):
    """A service with a user of each role, and their tokens."""
    path = shutil.copytree(archive, tmp_path_factory.mktemp('guarded') / 'archive')
    tokens = {}
    for role in ROLES:
        add_user(path, role, role)
        tokens[role] = ok('user', 'token', path, role).strip()
        assert re.fullmatch('[0-9a-f]{64}', tokens[role])
    with Service(path, '--requests-per-minute', 100000) as service:
        service.tokens, service.archive = tokens, path
        yield service


@pytest.fixture(scope='module')
def open_service(archive, tmp_path_factory):
    """A service without users."""
    path = shutil.copytree(archive, tmp_path_factory.mktemp('open') / 'archive')
    with Service(path) as service:
        service.archive = path
        yield service


def audit(path):
    return [json.loads(line) for line in (path / 'service/audit.jsonl').read_text().splitlines()]


# ---------------------------------------------------------------- who may do what


def test_routes_are_found():
    """The rows are read with a pattern: all of them."""
    text = (SOURCE / 'server/routes.c').read_text()
    assert len(ROUTES) == text.count('{"') > 9


@pytest.mark.parametrize('row', ROUTES, ids=lambda row: f'{row[0]} {row[1]}')
def test_roles(guarded, row):
    """Nobody, a wrong token and each role, at every route: refused below the row's role, not refused from it on."""
    method, path, least, body_kind, _, name = row
    path = re.sub(r'\{\w+\}', 'none', path)
    headers = {'Content-Type': TYPES[body_kind]} if body_kind in TYPES else {}
    payload = b'{}' if method in ('POST', 'PUT') and body_kind != 'NONE' else None
    if least == 'NONE':
        for token in [None, 'f' * 64]:
            assert guarded.ask(method, path, payload, headers, token=token).status not in (401, 403)
        return
    answer = guarded.ask(method, path, payload, headers)
    assert answer.status == 401 and answer.headers['WWW-Authenticate'].startswith('Bearer'), answer
    assert guarded.ask(method, path, payload, headers, token='f' * 64).status in (401, 429)
    for role in ROLES:
        if name == 'logout' and role == 'admin':
            continue
        status = guarded.ask(method, path, payload, headers, token=guarded.tokens[role]).status
        assert (status == 403) == (RANK[role.upper()] < RANK[least]), (role, status)
        assert status != 401


def test_three_ways_to_log_in(guarded):
    for role in ROLES:
        for how in [{'user': role}, {'token': guarded.tokens[role]}, {'cookie': guarded.login(role)}]:
            answer = guarded.get('/api/v1/session', **how)
            assert (answer.status, answer.json) == (200, {'User': role, 'Role': role})


@pytest.mark.parametrize('header', [
    basic('admin', 'wrong password'), basic('nobody'), basic('', ''), basic('admin', ''), basic('admin\0x'), 'Basic',
    'Basic !!!', 'Basic YWRtaW4=', 'Bearer', 'Bearer ' + 'f' * 64, 'Bearer ' + 'x' * 5000, 'Digest x', 'x', ''])
def test_bad_authorization(guarded, header):
    answer = guarded.get('/api/v1/session', headers={'Authorization': header})
    assert answer.status in (401, 429), answer
    assert set(answer.json) == {'HttpStatus', 'Message', 'Details'}


@pytest.mark.parametrize('cookie', ['', 'f' * 64, 'f' * 63, 'g' * 64, 'f' * 2000, '"' + 'f' * 64 + '"'])
def test_bad_cookie(guarded, cookie):
    assert guarded.get('/api/v1/session', cookie=cookie).status == 401


def test_a_cookie_is_found_among_others(guarded):
    cookie = guarded.login('reader')
    for header in [f'a=b; cmir_session={cookie}', f'cmir_session={cookie}; x=y', f'xcmir_session=no; cmir_session={cookie}']:
        assert guarded.get('/api/v1/session', headers={'Cookie': header}).status == 200


def test_the_cookie_is_for_the_browser_alone(guarded):
    answer = guarded.post('/api/v1/session', {'User': 'reader', 'Password': PASSWORD})
    assert answer.json == {'User': 'reader', 'Role': 'reader'}
    parts = [part.strip() for part in answer.headers['Set-Cookie'].split(';')]
    assert {'HttpOnly', 'SameSite=Strict', 'Path=/'} <= set(parts)
    assert answer.headers['Cache-Control'] == 'no-store'


def test_logging_out_ends_the_session(guarded):
    cookie, other = guarded.login('reader'), guarded.login('reader')
    assert cookie != other
    answer = guarded.ask('DELETE', '/api/v1/session', cookie=cookie, headers={'X-Cmir': '1'})
    assert answer.status == 204 and 'Max-Age=0' in answer.headers['Set-Cookie']
    assert guarded.get('/api/v1/session', cookie=cookie).status == 401
    assert guarded.get('/api/v1/session', cookie=other).status == 200


@pytest.mark.parametrize('sent', [
    {'User': 'reader'}, {'Password': 'x'}, {'User': 'reader', 'Password': 1}, {'User': None, 'Password': None},
    {'User': 'reader', 'Password': PASSWORD, 'Role': 'admin'}, [], 1, 'text'])
def test_bad_logins(guarded, sent):
    assert guarded.post('/api/v1/session', sent).status == 400


def test_users_change_while_the_service_runs(guarded):
    path = guarded.archive
    add_user(path, 'guest', 'reader')
    token, cookie = ok('user', 'token', path, 'guest').strip(), guarded.login('guest')
    ways = [{'user': 'guest'}, {'token': token}, {'cookie': cookie}]
    assert [guarded.get('/api/v1/session', **how).status for how in ways] == [200] * 3
    ok('user', 'token', path, 'guest', '--revoke')
    assert [guarded.get('/api/v1/session', **how).status for how in ways] == [200, 401, 200]
    ok('user', 'remove', path, 'guest')
    assert [guarded.get('/api/v1/session', **how).status for how in ways] == [401] * 3
    add_user(path, 'guest', 'admin', 'another password')
    assert guarded.get('/api/v1/session', user='guest').status == 401  # the old password
    ok('user', 'remove', path, 'guest')


def test_damaged_users_let_nobody_in(own):
    add_user(own, 'ada', 'admin')
    with Service(own) as service:
        assert service.get('/api/v1/session', user='ada').status == 200
        (own / 'service/users.json').write_text('{"Users": [')
        assert service.get('/api/v1/session', user='ada').status == 401
        assert service.get('/api/v1/session').status == 401
        assert service.get('/healthz').status == 200
    refused_code = run('serve', own, '--listen', '127.0.0.1:0')
    assert refused_code.returncode == 1 and 'damaged' in refused_code.stderr


def test_the_first_user_closes_the_service(own):
    with Service(own) as service:
        assert service.get('/api/v1/session').json == {'User': '', 'Role': 'admin'}
        assert service.get('/api/v1/system').json['LoginRequired'] is False
        add_user(own, 'ada', 'admin')
        assert service.get('/api/v1/session').status == 401
        assert service.get('/api/v1/system', user='ada').json['LoginRequired'] is True


def test_guessing_is_slowed(own):
    add_user(own, 'ada', 'admin')
    add_user(own, 'bob', 'reader')
    with Service(own) as service:
        for user in ['ada', 'nobody']:
            statuses = [service.get('/api/v1/session', headers={'Authorization': basic(user, f'guess {i}')}).status
                        for i in range(8)]
            assert statuses[:5] == [401] * 5 and 429 in statuses[5:], statuses
        answer = service.get('/api/v1/session', user='ada')  # the right one must wait as well
        while answer.status == 429:
            assert 1 <= int(answer.headers['Retry-After']) <= 8
            assert service.get('/api/v1/session', user='bob').status == 200
            time.sleep(int(answer.headers['Retry-After']))
            answer = service.get('/api/v1/session', user='ada')
        assert answer.status == 200
    lines = [line for line in audit(own) if line['What'] == 'login-refused']
    assert {line['User'] for line in lines} == {'ada', ''}  # what is no user's name may be a password
    assert ok_json('audit', 'verify', own)['Sound']


def test_rate_limit(own):
    with Service(own, '--requests-per-minute', 5) as service:
        answers = [service.get('/api/v1/session') for _ in range(8)]
        assert [a.status for a in answers[:5]] == [200] * 5
        assert answers[-1].status == 429 and 1 <= int(answers[-1].headers['Retry-After']) <= 12


# ---------------------------------------------------------------- from where


def test_changes_with_a_cookie_need_the_header(guarded):
    cookie = guarded.login('admin')
    for headers in [{}, {'X-Cmir': '0'}, {'X-Cmir': ''}]:
        assert guarded.ask('DELETE', '/api/v1/session', cookie=cookie, headers=headers).status == 403
    assert guarded.get('/api/v1/session', cookie=cookie).status == 200


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Origin': 'null'}, {'Origin': 'http://127.0.0.1:1'}, {'Origin': 'http://localhost'},
    {'Sec-Fetch-Site': 'cross-site'}, {'Sec-Fetch-Site': 'same-site'}])
def test_other_sites_change_nothing(guarded, open_service, headers):
    cookie = guarded.login('admin')
    assert guarded.ask('DELETE', '/api/v1/session', cookie=cookie, headers={**headers, 'X-Cmir': '1'}).status == 403
    assert open_service.ask('DELETE', '/api/v1/session', headers=headers).status == 403
    assert open_service.post('/api/v1/session', {'User': 'a', 'Password': 'b'}, headers=headers).status == 403


def test_the_own_site_may(open_service):
    origin = f'http://127.0.0.1:{open_service.port}'
    assert open_service.ask('DELETE', '/api/v1/session',
                            headers={'Origin': origin, 'Sec-Fetch-Site': 'same-origin'}).status == 204


@pytest.mark.parametrize('host, good', [
    ('localhost', True), ('localhost:8043', True), ('127.0.0.1:1', True), ('[::1]:80', True), ('LOCALHOST', True),
    ('evil.example', False), ('localhost.evil.example', False), ('127.0.0.1.evil.example:8043', False), ('', False),
    ('[::1', False), ('10.0.0.1', False)])
def test_only_local_names_on_a_local_address(open_service, host, good):
    """A name that an attacker lets point to 127.0.0.1 is not answered, whatever is asked."""
    for path in ['/', '/api/v1/system', '/healthz', '/nothing']:
        status = open_service.get(path, headers={'Host': host}).status
        assert (status == 421) == (not good), (path, status)


def test_no_host_at_all(open_service):
    got = open_service.raw(b'GET /api/v1/system HTTP/1.1\r\nConnection: close\r\n\r\n')
    assert got.startswith((b'HTTP/1.1 400', b'HTTP/1.1 421')), got[:100]
    got = open_service.raw(b'GET /api/v1/system HTTP/1.0\r\n\r\n')
    assert b' 421 ' in got[:20]


@pytest.mark.parametrize('options, words', [
    (['--listen', '0.0.0.0:0'], ['--listen 0.0.0.0:0', '--certificate', '--behind-proxy']),
    (['--listen', '[::]:0'], ['--listen [::]:0', '--certificate']),
    (['--listen', '10.1.2.3:80'], ['--listen 10.1.2.3:80', '--certificate']),
    (['--listen', '0.0.0.0:0', '--behind-proxy'], ['needs users', 'cmir user add']),
    (['--listen', '127.0.0.1:0', '--behind-proxy'], ['needs users', 'cmir user add']),
    (['--listen', '0.0.0.0:0', '--certificate', 'CERT', '--key', 'KEY'], ['needs users']),
    (['--certificate', 'CERT'], ['--certificate', '--key']),
    (['--key', 'KEY'], ['--certificate', '--key']),
    (['--behind-proxy', '--proxy-user-header', 'X-User'], ['--proxy-user-header', '--proxy-address']),
    (['--proxy-address', '127.0.0.1'], ['--proxy-address', '--behind-proxy']),
    (['--listen', 'localhost'], ['HOST:PORT']),
    (['--listen', '127.0.0.1:http'], ['HOST:PORT']),
    (['--listen', ':80'], ['--listen']),
    (['--upload-limit', '0'], ['--upload-limit']),
    (['--lisen', '127.0.0.1:0'], ["did you mean '--listen'"]),
])
def test_unsafe_or_wrong_options_are_refused(own, options, words):
    refused_start(words, own, *options)


def test_what_cannot_be_served(own, tmp_path):
    refused(1, ['nothing-here'], 'serve', tmp_path / 'nothing-here')
    add_user(own, 'ada', 'admin')
    refused(1, ['192.0.2.1'], 'serve', own, '--behind-proxy', '--listen', '192.0.2.1:1')
    with Service(own) as service:
        refused(1, ['Address already in use'], 'serve', own, '--state', tmp_path / 'state',
                '--listen', f'127.0.0.1:{service.port}')
        refused(1, ['another service'], 'serve', own, '--listen', '127.0.0.1:0')


# ---------------------------------------------------------------- behind a proxy


def test_a_named_proxy_names_the_user(own):
    add_user(own, 'ada', 'admin', None)
    add_user(own, 'bob', 'reader', None)
    options = ['--behind-proxy', '--proxy-address', '127.0.0.1', '--proxy-user-header', 'X-Remote-User']
    with Service(own, *options) as service:
        assert service.get('/api/v1/session', headers={'X-Remote-User': 'ada'}).json == {'User': 'ada', 'Role': 'admin'}
        assert service.get('/api/v1/session', headers={'X-Remote-User': 'bob'}).json['Role'] == 'reader'
        for headers in [{}, {'X-Remote-User': ''}, {'X-Remote-User': 'eve'}, {'X-User': 'ada'}]:
            assert service.get('/api/v1/session', headers=headers).status == 401
        twice = service.raw(b'GET /api/v1/session HTTP/1.1\r\nHost: any.example\r\nX-Remote-User: ada\r\n'
                            b'X-Remote-User: bob\r\nConnection: close\r\n\r\n')
        assert twice.startswith(b'HTTP/1.1 401'), twice[:100]
        assert service.get('/healthz', headers={'Host': 'archive.example'}).status == 200


def test_an_unnamed_proxy_is_not_believed(own):
    add_user(own, 'ada', 'admin')
    options = ['--behind-proxy', '--proxy-address', '192.0.2.7', '--proxy-user-header', 'X-Remote-User']
    with Service(own, *options) as service:
        assert service.get('/api/v1/session', headers={'X-Remote-User': 'ada'}).status == 401
        assert service.get('/api/v1/session', user='ada').status == 200


def test_the_proxy_says_who_guesses(own):
    """Guesses from one address do not lock out another behind the same proxy."""
    add_user(own, 'ada', 'admin')
    with Service(own, '--behind-proxy', '--proxy-address', '127.0.0.1') as service:
        def guess(address):
            return service.get('/api/v1/session', headers={'Authorization': basic('ada', 'guess'),
                                                           'X-Forwarded-For': f'10.9.9.9, {address}'}).status
        assert 429 in [guess('10.0.0.1') for _ in range(8)]
        assert guess('10.0.0.2') == 401
        assert service.get('/api/v1/session', user='ada', headers={'X-Forwarded-For': '10.0.0.3'}).status == 200


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem', '-days', '2', '-subj', '/CN=localhost'],
                   check=True, capture_output=True)
    (folder / 'key.pem').chmod(0o600)
    return folder


def test_tls(own, certificate):
    add_user(own, 'ada', 'admin')
    tls = ['--certificate', certificate / 'cert.pem', '--key', certificate / 'key.pem']
    with Service(own, *tls, listen='0.0.0.0:0') as service:
        answer = service.post('/api/v1/session', {'User': 'ada', 'Password': PASSWORD})
        assert answer.status == 200 and 'Secure' in answer.headers['Set-Cookie']
        assert int(re.match(r'max-age=(\d+)', answer.headers['Strict-Transport-Security'])[1]) >= 31536000
        assert service.get('/healthz', headers={'Host': 'archive.example'}).status == 200
        assert b'HTTP/1.1 200' not in service.raw(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers('ALL:@SECLEVEL=0')
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)), socket.create_connection(('127.0.0.1', service.port), 60) as s:
            context.wrap_socket(s)
        assert 'chmod 600' not in service.log()
    (certificate / 'key.pem').chmod(0o644)
    with Service(own, *tls) as service:
        assert 'chmod 600' in service.log()
    refused_start(['--key', '--certificate'], own, '--certificate', certificate / 'cert.pem', '--key', certificate / 'cert.pem')
    refused(1, ['missing.pem'], 'serve', own, '--certificate', certificate / 'missing.pem', '--key', certificate / 'key.pem')


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
        found = [str(path) for path in folder.rglob('*')] if folder.exists() else []
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


def test_no_space_for_an_upload(own):
    """A file larger than the system lets this process write stands for a full disk."""
    with Service(own, limits={resource.RLIMIT_FSIZE: 1 << 20}) as service:
        service.archive = own
        answer = service.post('/api/v1/uploads', parts(file_part(b'a.nii', b'x' * (3 << 20))), headers=MULTIPART)
        assert answer.status == 507, answer
        assert left_over(service) == []
        assert service.get('/healthz').status == 200


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


# ---------------------------------------------------------------- cmir user


def test_users_on_the_command_line(own, tmp_path):
    add_user(own, 'ada', 'admin')
    add_user(own, 'Zoë Müller', 'reader', None)
    token = ok_json('user', 'token', own, 'Zoë Müller')['Token']
    assert ok_json('user', 'list', own) == {'Users': [
        {'Name': 'ada', 'Role': 'admin', 'Password': True, 'Tokens': 0},
        {'Name': 'Zoë Müller', 'Role': 'reader', 'Password': False, 'Tokens': 1}]}
    assert ok_json('user', 'list', own / 'service') == ok_json('user', 'list', own)
    assert 'Zoë Müller' in ok('user', 'list', own)
    with Service(own) as service:
        assert service.get('/api/v1/session', token=token).json['User'] == 'Zoë Müller'
        assert service.get('/api/v1/session', headers={'Authorization': basic('ada')}).status == 200
    refused(1, ['ada', 'already'], 'user', 'add', own, 'ada', '--role', 'reader', input=PASSWORD + '\n')
    refused(1, ["'eve'"], 'user', 'remove', own, 'eve')
    refused(1, ["'eve'"], 'user', 'token', own, 'eve')
    refused(1, ['nowhere'], 'user', 'list', tmp_path / 'nowhere')
    for words, args, given in [
            (['--role'], ['add', own, 'eve'], PASSWORD), (['reader, contributor, admin'], ['add', own, 'eve', '--role', 'root'], PASSWORD),
            (['8 to 1024'], ['add', own, 'eve', '--role', 'reader'], 'short'), (['8 to 1024'], ['add', own, 'eve', '--role', 'reader'], ''),
            (['name'], ['add', own, 'a:b', '--role', 'reader'], PASSWORD), (['name'], ['add', own, '', '--role', 'reader'], PASSWORD),
            (['name'], ['add', own, 'a' * 65, '--role', 'reader'], PASSWORD), (['name'], ['add', own, '../x', '--role', 'reader'], PASSWORD),
            (['name'], ['add', own], PASSWORD), (["'adds'"], ['adds', own, 'x'], PASSWORD), (['too many'], ['list', own, 'x'], '')]:
        refused(2, words, 'user', *args, input=given + '\n')
    assert len(ok_json('user', 'list', own)['Users']) == 2


def test_no_password_is_given(own):
    refused(2, ['no password'], 'user', 'add', own, 'eve', '--role', 'reader')


def test_users_are_changed_by_many_at_once(own):
    threads = [threading.Thread(target=add_user, args=[own, f'user{i}', 'reader', None]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ok_json('user', 'list', own)['Users']) == 8


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
