# SPDX-License-Identifier: Apache-2.0
"""The service against what openapi.json says of it: schemathesis makes up requests, good and bad, for every operation, and
judges the answers: no failure of the service, only statuses, types and shapes that are announced.

CMIR_TORTURE=N: N made-up requests of each operation (default 3), and sequences of them."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from cli_help import archive, body, labels, ok_json, scans  # noqa: F401
from service import Service

N = int(os.environ.get('CMIR_TORTURE') or 3)
CHECKS = ('not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,'
          'response_headers_conformance,unsupported_method,allow_header_conformance')


def test_schemathesis(archive, tmp_path):
    own = shutil.copytree(archive, tmp_path / 'own')
    phases = 'coverage,fuzzing' + (',stateful' if 'CMIR_TORTURE' in os.environ else '')
    with Service(own, '--requests-per-minute', 1000000, '--upload-limit', 1000000) as service:
        done = subprocess.run(
            [sys.executable, '-m', 'schemathesis.cli', 'run', f'http://127.0.0.1:{service.port}/openapi.json', '--checks',
             CHECKS, '--max-examples', str(N), '--phases', phases, '--seed', '20240718', '--no-color', '--no-shrink',
             '--continue-on-failure', '--request-timeout', '300', '--suppress-health-check', 'all', '--warnings', 'off'],
            cwd=tmp_path, capture_output=True, text=True)
        print(done.stdout[-20000:])
        assert done.returncode == 0, done.stderr
        selected = re.search(r'Tested: (\d+)', done.stdout)
        n_operations = sum(len(item) for item in service.get('/openapi.json').json['paths'].values())
        assert int(selected[1]) == n_operations - 1  # it leaves out the description itself
        assert service.get('/healthz').status == 200
        log = service.log()
    assert 'runtime error' not in log and 'Sanitizer' not in log
    assert ok_json('verify', own)['Sound'] and ok_json('audit', 'verify', own)['Sound']
