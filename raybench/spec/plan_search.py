"""The part of a plan about the search: how trials are chosen and what depends on the order of their ends."""

from raybench.spec.experiment import MODEL_SAMPLERS, SearchSpec

ORDER_NOTE = (
    "order-dependent: `early_stopping: {name}` compares trials as they arrive, so two runs are not "
    "bit-reproducible; for that use `early_stopping: none`."
)


def search_notes(search: SearchSpec) -> list[str]:
    """Sentences about the sampler and early stopping; none for `qmc` or `random` without early stopping."""
    notes = []
    if search.sampler in MODEL_SAMPLERS:
        notes.append(
            f"`sampler: {search.sampler}` learns from results: at most {search.num_parallel} trials of a "
            "pair run at once (`search.max_parallel`), and trial i uses the results of trials 0 to "
            f"i - {search.num_parallel}, so the order in which trials finish changes nothing."
        )
    if search.sampler == "grid":
        notes.append(
            "`sampler: grid` tries the defaults, then every combination; the last hyperparameter varies "
            "fastest."
        )
    if (rule := search.converged) is not None:
        notes.append(
            "a search ends early once its best objective has not improved by more than "
            f"{rule.tolerance:g} in {rule.trials} trials (`search.converged`), so pairs may get different "
            "numbers of trials."
        )
    if search.early_stopping != "none":
        notes.append(ORDER_NOTE.format(name=search.early_stopping))
    return notes
