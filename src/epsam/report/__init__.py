"""What a run found, as one page that needs nothing but a browser."""
