"""The patch classifier: explicit visual prompt, attention-based dropout, ResNet."""
