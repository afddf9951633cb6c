"""One fit loop, metrics, checkpoints."""
