"""The metric for three types. Before: pip install ./examples/own_evaluator"""

from __future__ import annotations

from pathlib import Path

import qpipe

recipe = Path(__file__).with_name("recipe.yaml")
for row in qpipe.load(recipe, "quantize.type=Q8_0,Q4_K_M,Q2_K", sweep=True).run().rows:
    error = row.scores.get("weight_error")
    if error is not None:
        print(f"{row.name:7} {row.bits_per_weight:.2f} bits  {error.value:.3f} {error.unit}")
