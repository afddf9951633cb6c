"""The demo: made-up slides, the small stand-in for SAM, and its pre-training.

The package epsam never imports it.
"""
