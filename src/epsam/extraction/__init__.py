"""Step 1: find slides, score candidate tiles, select among them, and write and publish patches."""
