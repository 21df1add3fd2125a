"""Append what lies inside the image to a buffer, and drop the rest.

Why    Returns outside the image would all go to one spare place of the z-buffer, each store waiting for the one before; and
       scattering long runs at once, after the points were streamed past, costs half of scattering after every block
How    AVX-512 packs sixteen lanes in one instruction (LLVM's vector.compress); elsewhere a plain loop does it. Both give the same
       buffer; a test compares them. docs/decisions.md has the figures that keep the instruction
"""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16


def _has_packing_instructions() -> bool:
    """Say whether numba compiles for a processor that packs 32-bit and 16-bit lanes (AVX-512 F and VBMI2)."""
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES"):  # compiled for another processor than this one
        return False
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
        return False
    return bool(features.get("avx512f") and features.get("avx512vbmi2"))


@intrinsic
def _pack_lanes(
    typing_context: Any, slot: Any, step: Any, i: Any, packed_slot: Any, packed_step: Any, end: Any, outside: Any
) -> Any:
    """Append the lanes [i, i + 16) of slot and step whose slot is not ``outside``; return the new end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
        slots, steps, flags = ir.VectorType(i32, LANES), ir.VectorType(i16, LANES), ir.VectorType(ir.IntType(1), LANES)

        def place(number: int, index: Any, vector: Any) -> Any:
            array = context.make_array(signature.args[number])(context, builder, arguments[number])
            return builder.bitcast(builder.gep(array.data, [index]), vector.as_pointer())

        def load(number: int, vector: Any) -> Any:
            value = builder.load(place(number, arguments[2], vector))
            value.align = 2
            return value

        all_slots, all_steps = load(0, slots), load(1, steps)
        first = builder.insert_element(ir.Constant(slots, ir.Undefined), arguments[6], i32(0))
        spread = builder.shuffle_vector(first, ir.Constant(slots, ir.Undefined), ir.Constant(slots, [0] * LANES))
        is_inside = builder.icmp_signed("!=", all_slots, spread)
        for number, value, name in ((3, all_slots, "v16i32"), (4, all_steps, "v16i16")):
            kind = ir.FunctionType(value.type, [value.type, flags, value.type])
            compress = cgutils.get_or_insert_function(builder.module, kind, f"llvm.experimental.vector.compress.{name}")
            packed = builder.call(compress, [value, is_inside, ir.Constant(value.type, ir.Undefined)])
            builder.store(packed, place(number, arguments[5], value.type)).align = 2
        count_bits = cgutils.get_or_insert_function(builder.module, ir.FunctionType(i16, [i16]), "llvm.ctpop.i16")
        count = builder.call(count_bits, [builder.bitcast(is_inside, i16)])
        return builder.add(arguments[5], builder.zext(count, i64))

    return types.int64(slot, step, types.int64, packed_slot, packed_step, types.int64, types.int32), generate


@njit(cache=True, error_model="numpy")
def pack_by_lanes(slot, step, count, packed_slot, packed_step, end, outside):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Do what ``pack_one_by_one`` does, sixteen at a time; writes up to 16 values past the new end."""
    for i in range(count, (count + LANES - 1) // LANES * LANES):
        slot[i] = outside
    for i in range(0, count, LANES):
        end = _pack_lanes(slot, step, i, packed_slot, packed_step, end, outside)  # type: ignore[call-arg]
    return end


@njit(cache=True, error_model="numpy")
def pack_one_by_one(slot, step, count, packed_slot, packed_step, end, outside):  # type: ignore[no-untyped-def]
    """Append slot[i], step[i] of i < count with slot[i] != outside to the packed arrays at ``end``; return the new end.

    Args:
        slot: int32, room for a multiple of 16.
        step: uint16, as long.
        count: values in use.
        packed_slot: int32, room for at least ``count`` + 16 more.
        packed_step: uint16, as long.
        end: values in the packed arrays.
        outside: int32 slot that is dropped.
    """
    for i in range(count):
        if slot[i] != outside:  # points inside come in runs: a predicted branch costs less than a store
            packed_slot[end] = slot[i]
            packed_step[end] = step[i]
            end += 1
    return end


pack_inside = pack_by_lanes if _has_packing_instructions() else pack_one_by_one
"""The fast one of the two on this machine."""
