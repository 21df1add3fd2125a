"""Look at the 5x3 cells around a place of a range table at once.

Why    One by one they take 15 loads and 30 comparisons, most of what a vote costs
How    A column of three cells is a piece of four neighbours with one of them masked. Five pieces make vectors that are compared
       at once. These are plain vector operations of LLVM, which it compiles for every processor
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_PIECE = 4
_COLUMNS = 5


@intrinsic
def is_any_between(typing_context: Any, steps: Any, place: Any, height: Any, low: Any, limit: Any) -> Any:
    """Say whether one of the 5x3 cells around a place holds a step from ``low`` to ``limit``, both included.

    ``steps`` (n,) uint16 is the table of a sweep with its border, column after column, ``height`` (int64) entries each. ``place``
    (int64) is at least two columns and one row away from its ends. ``low`` and ``limit`` are uint16, ``limit`` not below ``low``.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table = context.make_array(signature.args[0])(context, builder, arguments[0])
        i16, i64 = ir.IntType(16), ir.IntType(64)
        piece = ir.VectorType(i16, _PIECE)
        at = builder.sub(arguments[1], builder.add(builder.add(arguments[2], arguments[2]), i64(1)))
        pieces = []
        for column in range(_COLUMNS):
            # the fourth cell lies above, but for the last column, where that would be beyond the end: there it lies below
            start = at if column < _COLUMNS - 1 else builder.sub(at, i64(1))
            value = builder.load(builder.bitcast(builder.gep(table.data, [start]), piece.as_pointer()))
            value.align = 2
            pieces.append(value)
            at = builder.add(at, arguments[2])
        span = builder.sub(arguments[4], arguments[3])
        joined, number = pieces[:-1], _PIECE
        while len(joined) > 1:
            number *= 2
            order = ir.Constant(ir.VectorType(ir.IntType(32), number), list(range(number)))
            joined = [builder.shuffle_vector(joined[k], joined[k + 1], order) for k in range(0, len(joined), 2)]
        found = [
            _flags(builder, joined[0], arguments[3], span, [True, True, True, False] * (_COLUMNS - 1)),
            _flags(builder, pieces[-1], arguments[3], span, [False, True, True, True]),
        ]
        return builder.icmp_unsigned("!=", builder.or_(found[0], builder.zext(found[1], i16)), i16(0))

    return types.boolean(steps, types.int64, types.int64, types.uint16, types.uint16), generate


def _flags(builder: Any, values: Any, low: Any, span: Any, is_asked: list[bool]) -> Any:
    """Return a bit for each value: it is asked for, and at least ``low`` and at most ``span`` more."""
    number, kind = len(is_asked), values.type
    spread = [_spread(builder, kind, number, one) for one in (low, span)]
    is_between = builder.icmp_unsigned("<=", builder.sub(values, spread[0]), spread[1])
    mask = ir.Constant(ir.VectorType(ir.IntType(1), number), [ir.IntType(1)(int(one)) for one in is_asked])
    return builder.bitcast(builder.and_(is_between, mask), ir.IntType(number))


def _spread(builder: Any, kind: Any, number: int, value: Any) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), number), [0] * number))
