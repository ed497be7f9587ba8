# SPDX-License-Identifier: Apache-2.0
"""The service as a stranger meets it: who may do what, from where, behind a proxy, over TLS; cmir user."""
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cli_help import archive, labels, ok, ok_json, own, refused, run, scans  # noqa: F401
from service import PASSWORD, Service, basic
from service_core import (ROLES, ROUTES, SOURCE, TYPES, add_user, audit, guarded, open_service,  # noqa: F401
                          refused_start)

RANK = {'NONE': 0, 'READER': 1, 'CONTRIBUTOR': 2, 'ADMIN': 3}


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
