"""TIFF files of kinds that Pillow reads but cannot write."""

import struct
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, ORIENTATION = 256, 257, 258, 259, 262, 273, 274
SAMPLES, ROWS, LENGTHS, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 278, 279, 338, 339
SHORT, LONG = 3, 4
_LONGS = (WIDTH, HEIGHT, OFFSETS, ROWS, LENGTHS)


def tiff(data: bytes, width: int, height: int, tags: Mapping[int, Sequence[int]]) -> bytes:
    """An uncompressed little-endian TIFF file of one strip.

    Args:
        data: the samples, packed as the tags say.
        tags: number → values, beside those of the size; BITS and PHOTOMETRIC at least.
    """
    every = {
        WIDTH: [width],
        HEIGHT: [height],
        COMPRESSION: [1],
        SAMPLES: [len(tags[BITS])],
        ROWS: [height],
        LENGTHS: [len(data)],
        OFFSETS: [0],
        **tags,
    }
    end = 8 + 2 + 12 * len(every) + 4
    packed = {
        number: struct.pack(f"<{len(values)}{'I' if number in _LONGS else 'H'}", *values)
        for number, values in every.items()
    }
    large = b"".join(packed[number] for number in sorted(packed) if len(packed[number]) > 4)
    packed[OFFSETS] = struct.pack("<I", end + len(large))
    entries, position = b"", end
    for number in sorted(every):
        value = packed[number]
        if len(value) > 4:
            value, position = struct.pack("<I", position), position + len(value)
        kind = LONG if number in _LONGS else SHORT
        entries += struct.pack("<HHI", number, kind, len(every[number])) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(every)) + entries + struct.pack("<I", 0) + large + data
