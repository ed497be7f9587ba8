# SPDX-License-Identifier: Apache-2.0
"""What the tests of the service's rules share: its routes, its users, services with and without them."""
import json
import os
import pathlib
import re
import shutil

import pytest
from cli_help import ok, run
from service import PASSWORD, Service

SOURCE = pathlib.Path(os.environ['CMIR_SOURCE'])
ROW = re.compile(r'\{"(\w+)",\s*"([^"]+)",\s*ROLE_(\w+),\s*BODY_(\w+),\s*(\w+),\s*"([^"]+)"\}')
ROUTES = ROW.findall((SOURCE / 'server/routes.c').read_text())
ROLES = ['reader', 'contributor', 'admin']
TYPES = {'JSON': 'application/json', 'TEXT': 'text/csv', 'FILES': 'multipart/form-data; boundary=x'}


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
