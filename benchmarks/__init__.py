import analysis as _analysis  # noqa: F401 - before numpy: it says with how many threads a report computes
