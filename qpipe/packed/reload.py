"""`python -m qpipe.packed.reload FOLDER`: load a checkpoint and compute with it once, in a process
that has done nothing else. Ends with 1, and one line that says why, if that does not work."""

from __future__ import annotations

import sys
from pathlib import Path

from qpipe.errors import QpipeError

# Any tokens do; every vocabulary has these.
_TOKENS = [1, 2, 3, 4, 5, 6, 7, 8]


def main(folder: Path) -> int:
    """0 if its logits are numbers."""
    import torch

    from qpipe.hf.load import load

    try:
        loaded = load(folder)
    except QpipeError as error:
        print(error)
        return 1
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([_TOKENS], device=loaded.device)).logits
    if not bool(torch.isfinite(logits).all()):
        print(f"{folder.name}: its logits are no finite numbers")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
