"""Two settings of the engine beside each other. Before: pip install ./examples/own_engine"""

from __future__ import annotations

from pathlib import Path

import qpipe

recipe = Path(__file__).with_name("recipe.yaml")
for row in qpipe.load(recipe, "quantize.inner=Q4_0,Q2_K", sweep=True).run().rows:
    print(f"{row.name:6} {row.format:10} {row.size_bytes:9,}  {row.scores['ppl'].value:.3f}")
