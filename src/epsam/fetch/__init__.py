"""Public data sets: what their homes list, fetched in resumable pieces, checked and converted."""
