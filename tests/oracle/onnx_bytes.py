# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX models as bytes, written field by field (onnx.proto), so that the tests need no exporter.

    model('x', ['N', 3, 8, 8], [('Flatten', ['x'], ['y'], {'axis': 1})], {'y': ['N', 192]})
"""
import struct

FLOAT, FLOAT16, INT64 = 1, 10, 7


def _varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def _field(number, value):
    """A varint for an int, a length-delimited field for bytes or str."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name, value):
    if isinstance(value, (list, tuple)):
        return _field(1, name) + b''.join(_field(8, v) for v in value) + _field(20, 7)
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _node(kind, inputs, outputs, attributes):
    return (b''.join(_field(1, i) for i in inputs) + b''.join(_field(2, o) for o in outputs) + _field(4, kind) +
            b''.join(_field(5, _attribute(n, v)) for n, v in attributes.items()))


def _value(name, shape, kind):
    dims = b''.join(_field(1, _field(2, d) if isinstance(d, str) else _field(1, d)) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _constant(name, values):
    whole = isinstance(values, list)
    data = struct.pack('<%dq' % len(values), *values) if whole else struct.pack('<f', values)
    return ((_field(1, len(values)) if whole else b'') + _field(2, INT64 if whole else FLOAT) + _field(8, name) +
            _field(9, data))


def model(input_name, input_shape, nodes, outputs, constants=(), kind=FLOAT):
    """`nodes`: (operator, inputs, outputs, attributes); `constants`: {name: float or list of integers}."""
    graph = (b''.join(_field(1, _node(*n)) for n in nodes) + _field(2, 'g') +
             b''.join(_field(5, _constant(n, v)) for n, v in dict(constants).items()) +
             _field(11, _value(input_name, input_shape, kind)) +
             b''.join(_field(12, _value(n, s, kind)) for n, s in outputs.items()))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, '') + _field(2, 13))
