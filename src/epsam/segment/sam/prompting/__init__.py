"""Prompts for SAM: how points are sampled, the rules of --prompt, what one decoder pass is
given.
"""
