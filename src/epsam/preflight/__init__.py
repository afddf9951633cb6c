"""What can be found wrong in seconds before a run of days: software, data, disk, weights."""
