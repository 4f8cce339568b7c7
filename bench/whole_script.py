"""A whole run as one script of one's own: calibrate, quantize, measure both, in one process.

`python -m bench.whole_script CHECKPOINT TEXT HELDOUT OUT` prints both perplexities. The engine is
llm-compressor, as its README has it; nothing of qpipe takes part.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from bench.engine_script import THREADS, llmcompressor

SAMPLES, LENGTH, WINDOWS, WIDTH = 16, 128, 8, 256


def perplexity(folder: str, heldout: str) -> float:
    """Of windows of the held-out text, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    ids = AutoTokenizer.from_pretrained(folder)(Path(heldout).read_text())["input_ids"]
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    lost = 0.0
    with torch.inference_mode():
        for at in range(0, WINDOWS * WIDTH, WIDTH):
            window = torch.tensor([ids[at : at + WIDTH]])
            lost += float(model(input_ids=window, labels=window).loss)
    return math.exp(lost / WINDOWS)


def main(source: str, text: str, heldout: str, out: str) -> None:
    """Quantize to four bits, and measure before and after."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = tokenizer(Path(text).read_text())["input_ids"]
    cut = [ids[at * LENGTH : (at + 1) * LENGTH] for at in range(SAMPLES)]
    llmcompressor(source, [{"input_ids": one, "attention_mask": [1] * LENGTH} for one in cut], out)
    tokenizer.save_pretrained(out)
    print(perplexity(source, heldout), perplexity(out, heldout))


if __name__ == "__main__":
    main(*sys.argv[1:])
