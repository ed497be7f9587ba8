#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long the service takes for pictures of slices, as a page that is scrolled asks for them.

  bench/bench_slices.py build/cmir ARCHIVE [--volumes N] [--side 512]

Starts `cmir serve` on the archive with a state folder of its own and asks, over one connection that is kept: for the
thumbnail of each volume; for the first slice of each (which opens its scan); then for every slice of it in order, and
once more with the ETag of the first answer.  Milliseconds from before the request to after the last byte: median, 95 %,
worst."""
import argparse
import http.client
import json
import subprocess
import tempfile
import time
import urllib.parse


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection('127.0.0.1', port)

    def get(self, path, **headers):
        start = time.perf_counter()
        self.connection.request('GET', path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        return 1e3 * (time.perf_counter() - start), answer, body


def line(name, ms, nbytes=None):
    ms = sorted(ms)
    print('| %s | %d | %.1f | %.1f | %.1f | %s |' % (name, len(ms), ms[len(ms) // 2], ms[min(len(ms) - 1, int(len(ms) * .95))],
                                                 ms[-1], '%.0f' % (nbytes / len(ms) / 1024) if nbytes else ''))


def measure(client, wanted, side):
    volumes = json.loads(client.get('/api/v1/volumes?limit=%d' % wanted)[2])['Volumes']
    times = {name: [] for name in ('thumbnail', 'first slice of a scan', 'slice', 'slice that is known (304)')}
    nbytes = dict.fromkeys(times, 0)
    for v in volumes:
        place = '/api/v1/volumes/' + urllib.parse.quote(v['VolumeId'], safe='')
        ms, answer, body = client.get(place + '/thumbnail.png')
        assert answer.status == 200, (answer.status, body)
        times['thumbnail'].append(ms)
        nbytes['thumbnail'] += len(body)
        for i, k in enumerate([v['Slices'] // 2, *range(v['Slices'])]):
            ms, answer, body = client.get('%s/slices/%d.png?side=%d' % (place, k, side))
            name = 'slice' if i > 0 else 'first slice of a scan'
            assert answer.status == 200, (answer.status, body)
            times[name].append(ms)
            nbytes[name] += len(body)
            ms, answer, _ = client.get('%s/slices/%d.png?side=%d' % (place, k, side),
                                       **{'If-None-Match': answer.headers['ETag']})
            assert answer.status == 304
            times['slice that is known (304)'].append(ms)
    print('| picture | n | median, ms | 95 %, ms | worst, ms | KiB |\n|---|---|---|---|---|---|')
    for name, ms in times.items():
        line(name, ms, nbytes[name])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('cmir')
    p.add_argument('archive')
    p.add_argument('--volumes', type=int, default=10)
    p.add_argument('--side', type=int, default=512)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as state:
        service = subprocess.Popen([a.cmir, 'serve', a.archive, '--listen', '127.0.0.1:0', '--state', state,
                                    '--requests-per-minute', '1000000'],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = int(service.stdout.readline().strip().rstrip('/').rsplit(':', 1)[1])
            measure(Client(port), a.volumes, a.side)
        finally:
            service.terminate()
            service.wait()


if __name__ == '__main__':
    main()
