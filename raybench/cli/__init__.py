"""The command line: run · plan · rank · report · recommend · cost · list · ui · track · cache · doctor.

Exit codes: 0 all pairs measured; 1 finished, but some pairs failed (each is named with its reason);
2 bad input, nothing was started; 3 the storage takes no writes; 130 interrupted, 143 ended by SIGTERM. After
3, 130 and 143 what was measured is kept, and the same command goes on.

Imports are deferred into the commands: `rank` and `list` start without torch, Ray or MLflow.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from raybench import __version__
from raybench.cli import cost as pricing
from raybench.cli import exits, reading, running, upkeep
from raybench.core.errors import RaybenchError, StorageUnavailableError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `raybench`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except StorageUnavailableError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return exits.STORAGE
    except RaybenchError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return exits.BAD_INPUT
    except KeyboardInterrupt:
        print("raybench: interrupted.", file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raybench", description="Which pretrained vision backbone should I use?", epilog=exits.MEANING
    )
    parser.add_argument("--version", action="version", version=f"raybench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for commands in (running, reading, pricing, upkeep):
        commands.add(verbs)
    return parser
