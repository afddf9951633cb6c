"""What every room stands on: errors, files, locks, signals, seeds, devices, checkpoints,
records.
"""
