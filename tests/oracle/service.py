# SPDX-License-Identifier: Apache-2.0
"""A running `cmir serve` for tests: start, ask, stop."""
import base64
import http.client
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cli_help import CMIR

PATIENCE_S = 240  # sanitizers on a busy machine
API = '/api/v1'


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)


def multipart(files):
    """Type and body of multipart/form-data; files: (name, bytes) each."""
    boundary = secrets.token_hex(16)
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
             f'Content-Type: application/octet-stream\r\n\r\n'.encode() + data + b'\r\n' for name, data in files]
    return f'multipart/form-data; boundary={boundary}', b''.join(parts) + f'--{boundary}--\r\n'.encode()


class Service:
    """`with Service(archive) as s: s.get('/volumes')`; arguments are options of cmir serve."""

    def __init__(self, archive, *options):
        self.command = [CMIR, 'serve', str(archive), '--listen', '127.0.0.1:0', *map(str, options)]
        self.state, self.process, self.headers, self.log = Path(archive) / 'service', None, {}, ''

    def __enter__(self):
        self.errors = tempfile.TemporaryFile('w+')  # a pipe that nobody reads would fill up
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        if not line.startswith('serving at '):
            self.process.wait()
            raise AssertionError(line + self.read_log())
        self.port = int(line.rstrip('/\n').rsplit(':', 1)[1])
        return self

    def __exit__(self, failed, *_):
        if self.process and self.process.poll() is None:
            code = self.stop()
            assert failed or code == 0, self.log

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.stdout.close()
        self.process.wait(PATIENCE_S)
        self.log += self.read_log()
        return self.process.returncode

    def read_log(self):
        self.errors.seek(0)
        return self.errors.read()

    def ask(self, method, path, body=None, type='application/json', user=None, **headers):
        """`user`: (name, password)."""
        if not path.startswith(('/healthz', '/metrics', '/openapi')):
            path = API + path
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        send = dict(self.headers)
        if body is not None:
            send['Content-Type'] = type
        if user:
            send['Authorization'] = 'Basic ' + base64.b64encode(':'.join(user).encode()).decode()
        send.update({name.replace('_', '-'): value for name, value in headers.items()})
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, send)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **how):
        return self.ask('GET', path, **how)

    def post(self, path, body=None, **how):
        return self.ask('POST', path, body, **how)

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
