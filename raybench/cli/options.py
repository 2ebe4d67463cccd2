"""Options that several commands share."""

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns; commands are added to it."""

DEFAULT_STORAGE = "runs"
LARGEST = 1_000_000_000
"""Largest whole number accepted; beyond it libraries overflow."""
STORAGE_HELP = "folder or s3://bucket/prefix of results and features (default: runs)"


def storage_option(parser: argparse.ArgumentParser) -> None:
    """Add `--storage`, for commands with another positional argument."""
    parser.add_argument("--storage", default=DEFAULT_STORAGE, help=STORAGE_HELP)


def storage_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument STORAGE."""
    parser.add_argument("storage", nargs="?", default=DEFAULT_STORAGE, help=STORAGE_HELP)


def tcp_port(text: str) -> int:
    """Parse an option's value as a TCP port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"must be a port, 1 to 65535, got {text!r}")
    return int(text)


def at_least_one(text: str) -> int:
    """Parse an option's value as a whole number of at least 1."""
    if not text.isdecimal() or int(text[:20]) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    if int(text[:20]) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {LARGEST}, got {text!r:.40}")
    return int(text)
