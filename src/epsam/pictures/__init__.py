"""Images that people look at: panels, overlays, curves."""
