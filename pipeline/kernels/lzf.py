"""Decode LZF, the compression of binary_compressed .pcd files."""

from __future__ import annotations

from numba import njit

LITERAL_BELOW = 32
"""A control byte below this stands before so many bytes and one more, which are copied as they are."""

LARGEST_RATIO = 132
"""Three bytes give at most 264: a length that promises more cannot be true."""


@njit(cache=True)
def decode_lzf(block, out):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Decode a block into a buffer; reads and writes within both, whatever the block holds.

    Args:
        block: (n,) uint8 compressed bytes.
        out: (m,) uint8 output.

    Returns:
        Bytes written; -1 if the block is damaged, or decodes to more than fits.
    """
    at, end, num_bytes, room = 0, 0, len(block), len(out)
    while at < num_bytes:
        control = int(block[at])
        at += 1
        if control < LITERAL_BELOW:
            count = control + 1
            if at + count > num_bytes or end + count > room:
                return -1
            out[end : end + count] = block[at : at + count]
            at += count
        else:
            count = control >> 5
            if count == 7:
                if at >= num_bytes:
                    return -1
                count += int(block[at])
                at += 1
            count += 2
            if at >= num_bytes:
                return -1
            back = end - ((control & 31) << 8) - int(block[at]) - 1
            at += 1
            if back < 0 or end + count > room:
                return -1
            for k in range(count):  # byte by byte: the copy may reach into what it writes
                out[end + k] = out[back + k]
        end += count
    return end
