# SPDX-License-Identifier: Apache-2.0
"""What the tests of the service share: starting `cmir serve`, asking it, users."""
import base64
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
import subprocess
import tempfile
import threading

import pytest
from cli_help import CMIR, ok, run

START_S = 120  # slow under sanitizers
PASSWORD = 'a long password'
SOURCE = pathlib.Path(os.environ['CMIR_SOURCE'])
ROW = re.compile(r'\{"(\w+)",\s*"([^"]+)",\s*ROLE_(\w+),\s*BODY_(\w+),\s*(\w+),\s*"([^"]+)"\}')
ROUTES = ROW.findall((SOURCE / 'server/routes.c').read_text())
ROLES = ['reader', 'contributor', 'admin']
TYPES = {'JSON': 'application/json', 'TEXT': 'text/csv', 'FILES': 'multipart/form-data; boundary=x'}


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f'<{self.status} {self.body[:300]!r}>'


class Service:
    """`cmir serve ARCHIVE OPTIONS` on a port of its own; use it in a with statement."""

    def __init__(self, archive, *options, listen='127.0.0.1:0', limits=()):
        self.errors = tempfile.TemporaryFile(mode='w+')
        self.process = subprocess.Popen([CMIR, 'serve', str(archive), '--listen', listen, *map(str, options)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        restore_signals=False,  # SIGXFSZ stays ignored
                                        preexec_fn=lambda: [resource.setrlimit(what, (most, most))
                                                            for what, most in dict(limits).items()])
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        found = re.fullmatch(r'serving at (https?)://(\[.*\]|[^:]*):(\d+)/\n', line)
        assert found, f'{line!r} {self.process.wait()} {self.log()}'
        self.port, self.tls = int(found[3]), found[1] == 'https'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            assert self.stop() == 0, self.log()
        self.process.stdout.close()
        self.errors.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(120)

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def connect(self, timeout=120):
        if not self.tls:
            return http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection('127.0.0.1', self.port, timeout=timeout, context=context)

    def ask(self, method, path, body=None, headers=(), user=None, token=None, cookie=None):
        """One request on a connection of its own.  A body that is no bytes is sent as JSON."""
        headers = dict(headers)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault('Content-Type', 'application/json')
        if user is not None:
            headers['Authorization'] = basic(user)
        if token is not None:
            headers['Authorization'] = 'Bearer ' + token
        if cookie is not None:
            headers['Cookie'] = 'cmir_session=' + cookie
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **how):
        return self.ask('GET', path, **how)

    def post(self, path, body=None, **how):
        return self.ask('POST', path, body, **how)

    def login(self, user, password=PASSWORD):
        """The cookie's value."""
        answer = self.post('/api/v1/session', {'User': user, 'Password': password})
        assert answer.status == 200, answer
        return re.match('cmir_session=([0-9a-f]{64});', answer.headers['Set-Cookie'])[1]

    def raw(self, data, timeout=120):
        """What comes back for these bytes until the service closes the connection."""
        with socket.create_connection(('127.0.0.1', self.port), timeout) as s:
            got = b''
            try:
                s.sendall(data)
                while piece := s.recv(65536):
                    got += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
            return got


def basic(user, password=PASSWORD):
    return 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()


def add_user(archive, name, role, password=PASSWORD):
    if password is None:
        ok('user', 'add', archive, name, '--role', role, '--without-password')
    else:
        ok('user', 'add', archive, name, '--role', role, input=password + '\n')


def refused_start(words, archive, *options):
    """serve ends at once with exit code 2 and says each of the words."""
    done = run('serve', archive, *options)
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, f'{word!r} is not in: {done.stderr}'


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
