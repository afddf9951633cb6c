"""What a person has corrected: where tumour is, where none is, and which area was looked at."""
