"""The command line: run · plan · rank · report · recommend · cost · list · ui · track · cache · doctor.

Exit codes: 0 all pairs measured; 1 finished, but some pairs failed (each is printed with its reason);
2 bad input, nothing was started; 3 storage full or unreachable; 130 interrupted; 143 ended by SIGTERM. After
3, 130 and 143 nothing measured is lost, and the same command resumes.

Commands import what they need themselves: `rank` and `list` start without torch, Ray or MLflow.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from raybench import __version__
from raybench.cli import cost_command, exit_codes, maintenance_commands, result_commands, run_commands
from raybench.core.errors import RaybenchError, StorageUnavailableError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `raybench`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except StorageUnavailableError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return exit_codes.STORAGE
    except RaybenchError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    except KeyboardInterrupt:
        print("raybench: interrupted.", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has ended: discard what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raybench",
        description="Which pretrained vision backbone should I use?",
        epilog=exit_codes.MEANING,
    )
    parser.add_argument("--version", action="version", version=f"raybench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for commands in (run_commands, result_commands, cost_command, maintenance_commands):
        commands.add(verbs)
    return parser
