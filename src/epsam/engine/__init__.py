"""The fit loop and what surrounds it: stages, metric loggers, sanity checks."""
