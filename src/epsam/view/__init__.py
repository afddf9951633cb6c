"""Look at results: one page of this machine, for slides and images with what was made of them."""
