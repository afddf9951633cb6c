"""The demo: made-up slides, the small stand-in for SAM, and its pre-training.

The package epsam never imports it.
"""

# Before the packages that demo's modules need: it says in one line if one of them is missing.
import epsam  # noqa: F401
