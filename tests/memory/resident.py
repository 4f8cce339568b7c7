"""``python -m tests.memory.resident FILE CONTEXT BATCH``: load a GGUF file as qpipe does, evaluate
a batch, and print the bytes that were resident before, and at most."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from qpipe.llamacpp import library
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model
from qpipe.machine.usage import own_peak_rss


def main(file: Path, context: int, batch: int) -> dict[str, int]:
    library.load()
    before = own_peak_rss()
    options = ContextOptions(context, threads=2, n_batch=batch, n_ubatch=batch)
    tokens = np.arange(batch) % 1000
    outputs = np.zeros(batch)
    outputs[-1] = 1
    with Model(file) as model, LlamaContext(model, options) as run:
        once = Batch(tokens, positions=np.arange(batch), sequences=np.zeros(batch), outputs=outputs)
        run.decode(once)
    return {"before": before, "peak": own_peak_rss()}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
