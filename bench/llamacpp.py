"""llama.cpp's own way from a checkpoint to a quantized file, by way of a file in F16."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.measure import call
from qpipe.gguf import reader

NAME = "convert_hf_to_gguf.py + llama-quantize"
_NEEDED = {
    "QPIPE_LLAMA_CPP": "the folder of llama-quantize: in llama.cpp's sources `cmake -B build` and "
    "`cmake --build build --target llama-quantize` make it in build/bin",
    "QPIPE_CONVERT_HF": "the path of convert_hf_to_gguf.py in these sources",
    "QPIPE_CONVERT_PYTHON": "a Python that can run it: one with qpipe's extra `convert`",
}


def missing() -> str | None:
    """The environment variables to set before this can run, or None."""
    unset = [f"{name} ({what})" for name, what in _NEEDED.items() if not os.environ.get(name)]
    return ", ".join(unset) or None


@dataclass(frozen=True)
class UsualPath:
    """From ``checkpoint`` to ``converted``, and from there to any level, with ``threads``."""

    checkpoint: Path
    converted: Path
    threads: int

    def convert(self) -> None:
        """Write the file in F16."""
        python, script = os.environ["QPIPE_CONVERT_PYTHON"], os.environ["QPIPE_CONVERT_HF"]
        options = ["--outfile", self.converted, "--outtype", "f16"]
        # It has no option for threads; torch's are OpenMP's.
        env = {"OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1"}
        command = [python, script, self.checkpoint, *options]
        call(command, cwd=self.converted.parent, env={**os.environ, **env})

    def quantize(self, ftype: str, out: Path, imatrix: Path | None = None) -> None:
        """Write ``out`` from the file in F16."""
        program = Path(os.environ["QPIPE_LLAMA_CPP"], "llama-quantize")
        weights = [] if imatrix is None else ["--imatrix", imatrix]
        call([program, *weights, self.converted, out, ftype, self.threads], cwd=out.parent)


def require_same(ours: Path, theirs: Path, level: str) -> None:
    """Raise RuntimeError unless two files have the same tensors, byte for byte."""
    one, other = reader.read(ours), reader.read(theirs)
    if one.tensors.keys() != other.tensors.keys():
        raise RuntimeError(f"{level}: other tensors than llama-quantize wrote")
    for name, tensor in one.tensors.items():
        expected = other.tensors[name]
        same = tensor.type == expected.type and (one.data(tensor) == other.data(expected)).all()
        if not same:
            raise RuntimeError(f"{level}: tensor {name} is not as llama-quantize wrote it")
