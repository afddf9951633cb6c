"""Which pseudo-labels the next round learns from (paper 3.3.3)."""
