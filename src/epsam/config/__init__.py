"""Every flag, once: how a flag is declared, the options of each stage, presets, the command
line.
"""
