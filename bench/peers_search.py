#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole searches by slice-wise indexes: FAISS (flat, IVF, HNSW) and USearch (HNSW), with votes.

  bench/peers_search.py ARCHIVE.f16 VOLUMES SLICES DIM QUERIES [--truth TRUTH.json] [--threads 2]

ARCHIVE.f16 and the folder QUERIES come from simulate.py.  Every slice is one vector of the index; each query slice
fetches its K nearest slices, and a volume's score is its number of hits (`freq`; ties: lower volume first).  TRUTH.json
is {query: [volumes by exhaustive MaxSim, best first]}; without that file it is computed here (in float32, the best 50
again in float64) and written.  One JSON line per peer:

  median_ms, p95_ms     one query volume, on so many threads
  recall_at_10          share of the true top 10 in the peer's top 10
  recall_in_candidates  share of the true top 10 among the peer's first C volumes, as a coarse stage would use it
  slice_recall          share of the true K nearest slices that the index found, over all slices of the first query
  build_s, memory_mb    on as many threads, data read from the file; anonymous memory of the process after - before
  add_ms, delete_ms     one volume, in memory only (none of them is durable here); null: the index cannot

Each peer runs in a process of its own."""
import argparse
import json
import multiprocessing
import os
import pathlib
import time

# FAISS brings an OpenBLAS of 2021 that takes a newer CPU for a Prescott, at a quarter of the speed: it is told.
# `slice_recall` of the flat index says whether it computes right.
os.environ.pop('OPENBLAS_L2_SIZE', None)
os.environ.pop('OPENBLAS_CORETYPE', None)
with open('/proc/cpuinfo') as cpuinfo:
    flags = next((line.split() for line in cpuinfo if line.startswith('flags')), [])
if 'avx2' in flags:
    os.environ['OPENBLAS_CORETYPE'] = 'SkylakeX' if 'avx512bw' in flags else 'Haswell'

import numpy as np  # noqa: E402

K = 20
TOP = 10
CANDIDATES = (10, 20, 50, 100, 200, 500)
BLOCK = 50  # volumes at a time


class Archive:
    def __init__(self, a):
        self.n, self.slices, self.dim, self.threads = a.volumes, a.slices, a.dim, a.threads
        self.rows = np.memmap(a.archive, '<f2', 'r', shape=(a.volumes * a.slices, a.dim))
        self.queries = {f.stem: np.load(f) for f in sorted(a.queries.glob('*.npy'))}

    def blocks(self):
        """-> first row, float32 rows."""
        for i in range(0, len(self.rows), BLOCK * self.slices):
            yield i, self.rows[i:i + BLOCK * self.slices].astype(np.float32)

    def truth(self):
        """Volumes by exhaustive MaxSim: the best 50 of each query, in order."""
        scores = {name: [] for name in self.queries}
        for _, block in self.blocks():
            for name, q in self.queries.items():
                s = (block @ q.T).reshape(-1, self.slices, len(q))
                scores[name].append(s.max(1).mean(1))
        result = {}
        for name, q in self.queries.items():
            best = np.argsort(-np.concatenate(scores[name]), kind='stable')[:50]
            exact = [(self.rows[v * self.slices:(v + 1) * self.slices].astype(float) @ q.T.astype(float)).max(0).mean()
                     for v in best]
            result[name] = [int(v) for _, v in sorted(zip(np.negative(exact), best))]
        return result

    def nearest(self, q):
        """The K nearest slices of each query slice, by brute force."""
        ids = np.zeros((len(q), 0), int)
        values = np.zeros((len(q), 0), np.float32)
        for first, block in self.blocks():
            ids = np.hstack([ids, np.broadcast_to(first + np.arange(len(block)), (len(q), len(block)))])
            values = np.hstack([values, q @ block.T])
            keep = np.argpartition(-values, K, 1)[:, :K]
            ids, values = np.take_along_axis(ids, keep, 1), np.take_along_axis(values, keep, 1)
        return ids


class Flat:
    name, parameters = 'FAISS flat + votes', 'exact, float32'

    def __init__(self, archive):
        import faiss
        faiss.omp_set_num_threads(archive.threads)
        # From how many queries on it uses sgemm.  Its default, 128000, is 20 times slower for 200.
        faiss.cvar.distance_compute_blas_threshold = 20
        self.faiss, self.dim = faiss, archive.dim
        self.index = self.make(archive)
        for _, block in archive.blocks():
            self.index.add(block)

    def make(self, archive):
        return self.faiss.IndexFlatIP(archive.dim)

    def search(self, q):
        return self.index.search(q, K)[1]

    def add(self, first, rows):
        self.index.add(rows)

    def delete(self, first, n):
        self.index.remove_ids(self.faiss.IDSelectorRange(first, first + n))


class IVF(Flat):
    name, parameters = 'FAISS IVF + votes', '2 sqrt(n) lists, 16 probed, float32'

    def make(self, archive):
        lists = int(2 * len(archive.rows) ** 0.5)
        quantizer = self.quantizer = self.faiss.IndexFlatIP(archive.dim)  # kept alive for the index
        index = self.faiss.IndexIVFFlat(quantizer, archive.dim, lists, self.faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(1).choice(len(archive.rows), min(len(archive.rows), 40 * lists), replace=False)
        index.train(archive.rows[np.sort(sample)].astype(np.float32))
        index.nprobe = 16
        return index


class HNSW(Flat):
    name, parameters = 'FAISS HNSW + votes', 'M 32, efConstruction 40, efSearch 64, float32'
    delete = None  # IndexHNSW has no remove_ids

    def make(self, archive):
        index = self.faiss.IndexHNSWFlat(archive.dim, 32, self.faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 40
        index.hnsw.efSearch = 64
        return index


class USearch:
    name, parameters = 'USearch HNSW + votes', 'M 16, efConstruction 128, efSearch 64, float16'

    def __init__(self, archive):
        from usearch.index import Index
        self.threads = archive.threads
        self.index = Index(ndim=archive.dim, metric='ip', dtype='f16', connectivity=16, expansion_add=128,
                           expansion_search=64)
        for first, block in archive.blocks():
            self.add(first, block)

    def search(self, q):
        return self.index.search(q, K, threads=self.threads).keys.astype(int)

    def add(self, first, rows):
        self.index.add(np.arange(first, first + len(rows)), rows, threads=self.threads)

    def delete(self, first, n):
        self.index.remove(np.arange(first, first + n), threads=self.threads)


def votes(ids, archive):
    """Volumes by number of hits, best first."""
    hits = np.bincount(ids[ids >= 0] // archive.slices, minlength=archive.n)
    order = np.argsort(-hits, kind='stable')
    return order[:np.count_nonzero(hits)]


def anonymous_mb():
    with open('/proc/self/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon')) / 1000


def timed_ms(call, *arguments):
    start = time.perf_counter()
    result = call(*arguments)
    return (time.perf_counter() - start) * 1e3, result


def measure(peer, a, truth, nearest):
    archive = Archive(a)
    before = anonymous_mb()
    build_ms, index = timed_ms(peer, archive)
    memory = anonymous_mb() - before

    ms, found = [], {}
    for name, q in [next(iter(archive.queries.items())), *archive.queries.items()]:
        t, found[name] = timed_ms(lambda: votes(index.search(q), archive))
        ms.append(t)
    ms = ms[1:]  # the first one warms up
    first = index.search(next(iter(archive.queries.values())))
    slice_recall = np.mean([len(set(x) & set(y)) / K for x, y in zip(first, nearest)])

    # Queries serve as new volumes.
    add, delete, end = [], [], len(archive.rows)
    for q in list(archive.queries.values())[:5]:
        add.append(timed_ms(index.add, end, q)[0])
        end += len(q)
    for i in range(len(add) if index.delete else 0):
        volume = archive.n // 2 + i
        delete.append(timed_ms(index.delete, volume * archive.slices, archive.slices)[0])

    def recall(n):
        shares = [len(set(t[:TOP]) & set(found[q][:n].tolist())) / TOP for q, t in truth.items()]
        return round(float(np.mean(shares)), 4)
    return {
        'peer': peer.name, 'parameters': '%s; %d votes a slice' % (peer.parameters, K), 'volumes': archive.n,
        'slices': archive.slices, 'dim': archive.dim, 'queries': len(ms), 'threads': a.threads,
        'median_ms': round(float(np.median(ms)), 2), 'p95_ms': round(float(np.percentile(ms, 95)), 2),
        'recall_at_10': recall(TOP), 'recall_in_candidates': {str(c): recall(c) for c in CANDIDATES if c <= archive.n},
        'slice_recall': round(float(slice_recall), 4), 'build_s': round(build_ms / 1e3, 2),
        'memory_mb': round(memory, 1), 'add_ms': round(float(np.median(add)), 2),
        'delete_ms': round(float(np.median(delete)), 2) if delete else None}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('archive')
    for word in ('volumes', 'slices', 'dim'):
        p.add_argument(word, type=int)
    p.add_argument('queries', type=pathlib.Path)
    p.add_argument('--truth', type=pathlib.Path)
    p.add_argument('--threads', type=int, default=2)
    a = p.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(a.threads)  # for the processes of the peers
    archive = Archive(a)
    if a.truth and a.truth.exists():
        truth = json.loads(a.truth.read_text())
    else:
        truth = archive.truth()
        if a.truth:
            a.truth.write_text(json.dumps(truth) + '\n')
    nearest = archive.nearest(next(iter(archive.queries.values())))
    context = multiprocessing.get_context('spawn')
    for peer in (Flat, IVF, HNSW, USearch):
        with context.Pool(1) as pool:
            print(json.dumps(pool.apply(measure, (peer, a, truth, nearest))), flush=True)


if __name__ == '__main__':
    main()
