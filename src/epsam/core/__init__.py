"""What every other package stands on: errors, files, locks, signals, seeds, devices, records."""
