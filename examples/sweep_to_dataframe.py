"""Quantize a model to several GGUF types, measure them, and look at the table in pandas."""

from __future__ import annotations

import sys

import qpipe


def main(model: str = "builtin:tinystories-d256") -> None:
    session = qpipe.load(
        "local",
        f"model.source={model}",
        "quantize.type=Q8_0,Q4_K_M,Q4_0",
        "evaluate.n_ctx=256",
        "evaluate.chunks=4",  # a first look; without it, all of the text
        sweep=True,
    )
    frame = session.run().to_pandas()
    print(frame[["name", "size_bytes", "bits_per_weight", "ppl", "ppl_stderr"]].to_string())

    levels = frame[~frame["reference"]]
    best = levels.loc[(levels["ppl"] * levels["size_bytes"]).idxmin()]
    print(f"least perplexity times size: {best['name']}, {best['path']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
