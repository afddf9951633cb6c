"""Every flag, once: how flags are declared, the options of each stage, presets, the command line.

A stage's options are one frozen dataclass, composed of groups of flags. The first line of a group's
docstring is its heading in `--help`. What a dataset or a method changes is a row of data in
presets.py and method_presets.py, never a branch in the code. Precedence: default < constants of the
method < dataset < dataset's of the method < authors' of the method < `--method` < command line.
"""
