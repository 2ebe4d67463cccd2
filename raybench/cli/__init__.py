"""The command line: run · plan · rank · report · recommend · cost · list · ui · track · cache · doctor.

Exit codes: 0 all pairs measured; 1 finished, but some pairs failed (each is printed with its reason);
2 bad input, nothing was started; 3 storage full or unreachable; 70 an unexpected error, a bug, whose
traceback is in the file that is named; 130 interrupted; 143 ended by SIGTERM. After 3, 70, 130 and 143
nothing measured is lost, and the same command resumes.

Commands import what they need themselves: `rank` and `list` start without torch, Ray or MLflow.
"""

import argparse
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence

from raybench import __version__
from raybench.cli import cost_command, exit_codes, maintenance_commands, result_commands, run_commands
from raybench.core.errors import RaybenchError, StorageUnavailableError
from raybench.core.names import name_problem, printable

MAX_ARGUMENT = 4096
"""Characters of one argument, as of a path."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `raybench`; returns the exit code."""
    for argument in sys.argv[1:] if argv is None else argv:
        if problem := name_problem(argument, max_length=MAX_ARGUMENT):
            print(f"raybench: the argument {argument!a:.60} {problem}.", file=sys.stderr)
            return exit_codes.BAD_INPUT
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except StorageUnavailableError as error:
        print(f"raybench: {printable(str(error))}", file=sys.stderr)
        return exit_codes.STORAGE
    except RaybenchError as error:
        print(f"raybench: {printable(str(error))}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    except KeyboardInterrupt:
        print("raybench: interrupted.", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has ended: discard what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.DONE
    except Exception as error:
        print(f"raybench: {_crash_report(error)}", file=sys.stderr)
        return exit_codes.CRASH


def _crash_report(error: Exception) -> str:
    """One sentence about an unexpected error; writes its traceback to a file that only the user can read."""
    lines = [f"raybench {__version__}, Python {platform.python_version()} on {platform.platform()}\n"]
    lines += traceback.format_exception(error)
    reason = printable(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="raybench-crash-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.writelines(lines)
    except OSError:
        return f"unexpected error, a bug of raybench: {reason}\n{printable(''.join(lines))}"
    return (
        f"unexpected error, a bug of raybench: {reason}; please report it with its traceback in {file.name}"
    )


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
