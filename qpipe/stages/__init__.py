"""The contracts of a stage, of an engine and of an evaluator, and how they are found (registry)."""
