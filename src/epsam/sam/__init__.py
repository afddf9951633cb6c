"""The Segment Anything side: models and frames, prompts (PEPM), batched decoding, losses, selection (IDS)."""
