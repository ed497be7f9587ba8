# SPDX-License-Identifier: Apache-2.0
"""A running `cmir serve` for tests: start, ask, stop."""
import base64
import http.client
import json
import os
import re
import resource
import secrets
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from cli_help import CMIR

ANSWER_S = 120  # a start, an answer, an end; slow under sanitizers
PATIENCE_S = 240  # for jobs, on a busy machine
API = '/api/v1'
PASSWORD = 'a long password'


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
        timer = threading.Timer(ANSWER_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        found = re.fullmatch(r'serving at (https?)://(\[.*\]|[^:]*):(\d+)/\n', line)
        assert found, f'{line!r} {self.process.wait()} {self.log()}'
        self.port, self.tls = int(found[3]), found[1] == 'https'

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            code = self.stop()
            assert failed or code == 0, self.log()
        self.process.stdout.close()
        self.errors.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(ANSWER_S)

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def connect(self, timeout=ANSWER_S):
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

    def raw(self, data, timeout=ANSWER_S):
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


def multipart(files):
    """Type and body of multipart/form-data; files: (name, bytes) each."""
    boundary = secrets.token_hex(16)
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
             f'Content-Type: application/octet-stream\r\n\r\n'.encode() + data + b'\r\n' for name, data in files]
    return f'multipart/form-data; boundary={boundary}', b''.join(parts) + f'--{boundary}--\r\n'.encode()


class Api(Service):
    """The service as a program asks it: paths are of the interface, users (name, password), other names headers."""

    def __init__(self, archive, *options):
        self.state, self.headers = Path(archive) / 'service', {}
        super().__init__(archive, *options)

    def ask(self, method, path, body=None, type='application/json', user=None, **headers):
        if not path.startswith(('/healthz', '/metrics', '/openapi')):
            path = API + path
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        send = dict(self.headers)
        if body is not None:
            send['Content-Type'] = type
        if user:
            send['Authorization'] = basic(*user)
        send.update({name.replace('_', '-'): value for name, value in headers.items()})
        return super().ask(method, path, body.encode() if isinstance(body, str) else body, send)

    def delete(self, path, **how):
        return self.ask('DELETE', path, **how)

    def send_files(self, path, files, **how):
        """files: paths, or (name, bytes)."""
        type, body = multipart([f if isinstance(f, tuple) else (f.name, f.read_bytes()) for f in files])
        return self.post(path, body, type=type, **how)

    def finish(self, answer, **how):
        """Waits for the job of a 202."""
        assert answer.status == 202, answer.body
        place = answer.headers['Location'].removeprefix(API)
        for _ in self.patiently():
            job = self.get(place, **how).json
            if job['State'] not in ('queued', 'running'):
                return job
        raise AssertionError(f'{job} goes on for ever')

    @staticmethod
    def patiently():
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            yield
            time.sleep(.02)

    def children(self):
        """Processes of jobs."""
        found = []
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                if int((folder / 'stat').read_text().rsplit(')', 1)[1].split()[1]) == self.process.pid:
                    found.append(int(folder.name))
            except OSError:
                pass
        return found


def without_paths(value):
    """What the service leaves out of the command's JSON."""
    for o in [value['Query'], *value['Matches']]:
        o.pop('Path')
    return value


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False
