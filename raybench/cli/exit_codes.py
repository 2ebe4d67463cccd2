"""Exit codes of `raybench`, and the help text about them."""

DONE, FAILED_PAIRS, BAD_INPUT, STORAGE, CRASH, INTERRUPTED, TERMINATED = (0, 1, 2, 3, 70, 130, 143)
MEANING = (
    "Exit codes: 0 all pairs measured, 1 some pairs failed, 2 bad input, 3 storage full or unreachable, "
    "70 an unexpected error (a bug; its traceback is in the file that is named), 130 interrupted, 143 ended "
    "by SIGTERM."
)
