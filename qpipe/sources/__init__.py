"""Where models and texts come from: pinning them to exact content, and bringing them here."""
