"""Exit codes of `raybench`, and the help text about them."""

DONE, FAILED_PAIRS, BAD_INPUT, STORAGE, INTERRUPTED, TERMINATED = (0, 1, 2, 3, 130, 143)
MEANING = (
    "Exit codes: 0 all pairs measured, 1 some pairs failed, 2 bad input, 3 storage full or unreachable, "
    "130 interrupted, 143 ended by SIGTERM."
)
