"""Segment Anything: models, frames, batched mask decoder, losses."""
