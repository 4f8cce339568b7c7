"""From a recipe's YAML to a graph: request → load (Hydra) → schema (pydantic) → plan (graph)."""
