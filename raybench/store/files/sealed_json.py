"""JSON objects that end with a checksum of themselves, so that a damaged file is noticed when it is read.

`{"a":1}` is stored as `{"a":1,"checksum":"<32 hexadecimal digits>"}`. Any JSON reader reads it, and files of
versions that wrote no checksum are read without one.
"""

import json
import re

from raybench.store.files.checksums import checksum_of

_START, _END = b',"checksum":"', b'"}'
_CHECKSUM = re.compile(rb"[0-9a-f]{32}")
_KEY = re.compile(rb'"checksum"\s*:\s*"[0-9a-f]{32}"')
_NUM_BYTES = len(_START) + 32 + len(_END)


def seal(text: bytes) -> bytes:
    """Add the checksum to the text of a JSON object; an empty object stays as it is."""
    return text if text == b"{}" else text[:-1] + _START + checksum_of(text).encode() + _END


def unseal(content: bytes) -> bytes:
    """The text without its checksum, which is verified if there is one.

    >>> unseal(seal(b'{"a":1}'))
    b'{"a":1}'

    Raises:
        ValueError: if the text differs from what was sealed, its checksum is damaged, or another program has
            rewritten the file, so that its checksum cannot be verified.
    """
    text, tail = content[:-_NUM_BYTES] + b"}", content[-_NUM_BYTES:]
    start, checksum, end = tail[: len(_START)], tail[len(_START) : -len(_END)], tail[-len(_END) :]
    num_wrong = sum(a != b for a, b in zip(start + end, _START + _END, strict=False))
    if num_wrong > 1 or len(tail) < _NUM_BYTES:
        if _has_checksum(content):
            raise ValueError(
                "it was rewritten by another program, so its checksum cannot be verified: restore it, or "
                "remove the key `checksum` to accept it as it is"
            )
        return content
    if num_wrong or not _CHECKSUM.fullmatch(checksum) or checksum_of(text) != checksum.decode():
        raise ValueError("it is damaged: its content does not have its checksum")
    return text


def _has_checksum(content: bytes) -> bool:
    """Whether the object itself, not one within it, has the key of a checksum."""
    if not _KEY.search(content):
        return False
    try:
        parsed = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return isinstance(parsed, dict) and "checksum" in parsed
