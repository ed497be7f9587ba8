# SPDX-License-Identifier: Apache-2.0
"""cmir_evaluate() and cmir_tumour_stage() through ctypes: just what the oracle tests need of include/cmir/assess.h.

    e = evaluate(volumes, queries, methods, nuisances=[names], **options)
        volumes   list of dict(id=, value=, group=, cohort=, nuisances=[...])
        queries   list of (volume, [database])
        methods   {name: list of [found] or ([found], [scores])}
    e.metrics, e.values, e.lines[name], e.pairs: with numpy arrays and (value, low, high) tuples
    stage(site, size_cm, number)
"""
import ctypes as c
import types

import numpy as np

import cmir_ffi

KINDS = ['method', 'random', 'majority', 'cohort', 'nuisance']
u32, f64 = c.c_uint32, c.c_double
PROGRESS = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64, c.c_uint64)


class CVolume(c.Structure):
    _fields_ = [('id', c.c_char_p), ('value', c.c_char_p), ('group', c.c_char_p), ('cohort', c.c_char_p),
                ('nuisances', c.POINTER(f64))]


class CList(c.Structure):
    _fields_ = [('found', c.POINTER(u32)), ('scores', c.POINTER(f64)), ('n_found', u32)]


class CMethod(c.Structure):
    _fields_ = [('name', c.c_char_p), ('lists', c.POINTER(CList))]


class CQuery(c.Structure):
    _fields_ = [('volume', u32), ('database', c.POINTER(u32)), ('n_database', u32)]


class CInput(c.Structure):
    _fields_ = [('struct_nbytes', c.c_size_t), ('volumes', c.POINTER(CVolume)), ('n_volumes', c.c_size_t),
                ('queries', c.POINTER(CQuery)), ('n_queries', c.c_size_t), ('methods', c.POINTER(CMethod)),
                ('n_methods', c.c_size_t), ('nuisances', c.POINTER(c.c_char_p)), ('n_nuisances', c.c_size_t)]


class COptions(c.Structure):
    _fields_ = [('struct_nbytes', c.c_size_t), ('k', c.POINTER(u32)), ('n_k', c.c_size_t), ('n_neighbours', u32),
                ('positive', c.c_char_p), ('n_bootstrap', u32), ('n_shuffles', u32), ('seed', c.c_uint64),
                ('allow_leak', c.c_bool), ('seen', c.c_bool), ('progress', PROGRESS), ('progress_ctx', c.c_void_p)]


class CFigure(c.Structure):
    _fields_ = [('value', f64), ('low', f64), ('high', f64)]


class CLine(c.Structure):
    _fields_ = [('name', c.c_char_p), ('kind', c.c_int), ('figures', c.POINTER(CFigure)),
                ('per_query', c.POINTER(f64)), ('evidence', c.POINTER(f64)), ('auroc', CFigure), ('auprc', CFigure),
                ('brier', CFigure), ('confusion', c.POINTER(f64)), ('accuracy', CFigure), ('bin_n', f64 * 10),
                ('bin_evidence', f64 * 10), ('bin_rate', f64 * 10)]


class CPair(c.Structure):
    _fields_ = [('a', u32), ('b', u32), ('metric', u32)] + [(name, f64) for name in (
        'difference', 'low', 'high', 'wilcoxon', 'sign_flip', 'wilcoxon_holm', 'sign_flip_holm')]


class CEvaluation(c.Structure):
    _fields_ = [('metrics', c.POINTER(c.c_char_p)), ('n_metrics', c.c_size_t), ('values', c.POINTER(c.c_char_p)),
                ('n_values', c.c_size_t), ('positive', c.c_char_p), ('lines', c.POINTER(CLine)),
                ('n_lines', c.c_size_t), ('pairs', c.POINTER(CPair)), ('n_pairs', c.c_size_t),
                ('n_queries', c.c_size_t), ('n_groups', c.c_size_t), ('n_short', u32), ('leak', c.c_bool),
                ('seen', c.c_bool)]


LIB = cmir_ffi.LIB
LIB.cmir_evaluate.argtypes = [c.POINTER(CInput), c.POINTER(COptions), c.POINTER(c.POINTER(CEvaluation)),
                              c.POINTER(cmir_ffi.CError)]
LIB.cmir_evaluation_free.argtypes, LIB.cmir_evaluation_free.restype = [c.POINTER(CEvaluation)], None
LIB.cmir_tumour_stage.argtypes = [c.c_char_p, f64, u32, c.POINTER(c.c_int), c.POINTER(cmir_ffi.CError)]


def _text(s):
    return None if s is None else s.encode()


def _numbers(kind, values):
    return None if values is None else (kind * max(len(values), 1))(*values)


def _list(found):
    found, scores = found if isinstance(found, tuple) else (found, None)
    return CList(_numbers(u32, found), _numbers(f64, scores), len(found))


def _triple(figure):
    return np.array([figure.value, figure.low, figure.high])


def _line(raw, n_queries, n_metrics, n_values):
    copy = lambda pointer, *shape: np.array(pointer[:int(np.prod(shape))], float).reshape(shape)
    return types.SimpleNamespace(
        kind=KINDS[raw.kind], figures=np.array([_triple(raw.figures[m]) for m in range(n_metrics)]),
        per_query=copy(raw.per_query, n_queries, n_metrics), evidence=copy(raw.evidence, n_queries),
        confusion=copy(raw.confusion, n_values, n_values), auroc=_triple(raw.auroc), auprc=_triple(raw.auprc),
        brier=_triple(raw.brier), accuracy=_triple(raw.accuracy), bin_n=np.array(raw.bin_n),
        bin_evidence=np.array(raw.bin_evidence), bin_rate=np.array(raw.bin_rate))


def evaluate(volumes, queries, methods=None, nuisances=(), **options):
    methods = methods or {}
    if 'k' in options:
        options['n_k'], options['k'] = len(options['k']), _numbers(u32, options['k'])
    options['positive'] = _text(options.get('positive'))
    opt = COptions(struct_nbytes=c.sizeof(COptions), **options)
    vs = (CVolume * max(len(volumes), 1))(*[
        CVolume(_text(v['id']), _text(v['value']), _text(v.get('group')), _text(v.get('cohort')),
                _numbers(f64, v.get('nuisances'))) for v in volumes])
    qs = (CQuery * max(len(queries), 1))(*[CQuery(q, _numbers(u32, db), len(db)) for q, db in queries])
    ms = (CMethod * max(len(methods), 1))(*[
        CMethod(_text(name), (CList * len(lists))(*[_list(found) for found in lists]))
        for name, lists in methods.items()])
    names = (c.c_char_p * max(len(nuisances), 1))(*[_text(n) for n in nuisances])
    raw = c.POINTER(CEvaluation)()
    cmir_ffi._call(LIB.cmir_evaluate, c.byref(CInput(c.sizeof(CInput), vs, len(volumes), qs, len(queries), ms,
                                                     len(methods), names, len(nuisances))),
                   c.byref(opt), c.byref(raw))
    e = raw.contents
    out = types.SimpleNamespace(
        metrics=[e.metrics[i].decode() for i in range(e.n_metrics)],
        values=[e.values[i].decode() for i in range(e.n_values)],
        positive=e.positive.decode() if e.positive else None,
        lines={e.lines[i].name.decode(): _line(e.lines[i], e.n_queries, e.n_metrics, e.n_values)
               for i in range(e.n_lines)},
        pairs=[types.SimpleNamespace(**{name: getattr(e.pairs[i], name) for name, _ in CPair._fields_})
               for i in range(e.n_pairs)],
        n_queries=e.n_queries, n_groups=e.n_groups, n_short=e.n_short, leak=e.leak)
    LIB.cmir_evaluation_free(raw)
    return out


def stage(site, size_cm, number):
    out = c.c_int()
    cmir_ffi._call(LIB.cmir_tumour_stage, _text(site), size_cm, number, c.byref(out))
    return out.value
