"""Checksums that reveal damaged files: XXH3, 128 bits. They do not protect against forgery.

0.07 s per GiB in memory; SHA-256 takes 0.9 s and BLAKE2b 2.0 s on the same core.
"""

import functools
from pathlib import Path

import xxhash

BLOCK_BYTES = 4 * 2**20


def checksum_of(content: bytes) -> str:
    """Checksum of a file's content, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(content)


def checksum_of_file(path: Path) -> str:
    """`checksum_of` the file's content. Computed once per process for a file that does not change.

    Raises:
        OSError: if the file cannot be read.
    """
    status = path.stat()
    return _cached_checksum(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=2**16)
def _cached_checksum(path: Path, inode: int, num_bytes: int, modified_ns: int) -> str:
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()
