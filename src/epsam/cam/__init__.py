"""Class activation maps: rotate & fuse, then the steps that turn a map into an initial mask."""
