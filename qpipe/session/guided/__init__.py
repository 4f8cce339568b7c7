"""Guided sweeps: levels that cannot be what is looked for are not measured further."""
