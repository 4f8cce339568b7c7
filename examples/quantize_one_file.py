"""Write one GGUF file of a checkpoint, and say what is in it: MODEL OUT TYPE."""

from __future__ import annotations

import sys

import qpipe


def main(
    model: str = "builtin:tinystories-d256", out: str = "model-Q4_K_M.gguf", level: str = "Q4_K_M"
) -> None:
    file = qpipe.quantize(model, out, level)
    made = qpipe.inspect(file)
    print(f"{file}: {made['file_bytes']:,} bytes, {made['bits_per_weight']:.3f} bits per weight")
    for name, of in made["types"].items():
        print(f"  {name:5} {of['tensors']:3} tensors, {of['parameters']:,} weights")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except qpipe.QpipeError as error:  # says what is wrong, and what helps
        sys.exit(f"{error}")
