"""Whether llama.cpp can load a GGUF file, found out in a process of its own.

llama.cpp ends the whole process at some faults of a file (GGML_ASSERT). It is asked for everything
but the weights (``no_alloc``): metadata, vocabulary, and each tensor's name, shape and place; so it
takes a tenth of a second and no memory, and the weights need not be there yet.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from qpipe.errors import CheckpointError, EngineMissingError, StageError
from qpipe.llamacpp import library
from qpipe.llamacpp.c_api import LLAMA_VERSION, LOAD_NONE
from qpipe.machine import program

_LLAMA = f"llama.cpp {LLAMA_VERSION}"
_UNKNOWN = re.compile(r"unknown model architecture: '(.*?)'")
# ggml_abort's line, in front of which is where in its source that was.
_ABORT = re.compile(r"(GGML_ASSERT\(.*|fatal error.*)")
_ANSWER = "opened: "


def require_loadable(path: Path) -> str | None:
    """None if llama.cpp can load the GGUF file ``path``, or a sentence on why that is not known.

    Raises CheckpointError, with llama.cpp's last words, for a file of an architecture that it
    knows and yet cannot load.
    """
    answer = ask(path)
    if "missing" in answer:
        return f"not opened by llama.cpp to try it: {answer['missing']}"
    reason = answer.get("reason")
    if reason is None:
        return None
    if unknown := _UNKNOWN.search(reason):
        return (
            f"not opened to try it: {_LLAMA} does not know the architecture {unknown[1]!r}; a "
            "newer one may"
        )
    raise CheckpointError(
        f"{_LLAMA} cannot load the GGUF file that this would be: {reason}. It was not made. If "
        "the checkpoint is whole, the converter expects it saved otherwise (transformers 5 leaves "
        "out and renames parts of some models): give the files as the model was first published"
    )


def ask(path: Path) -> Mapping[str, str]:
    """Ask llama.cpp to load the GGUF file ``path``: the answer is empty if it can, else it has its
    last words as ``reason``, or as ``missing`` why it cannot be asked."""
    # llama.cpp 0.6.0-dev ends the process at some faults of a file (GGML_ASSERT).
    output: list[str] = []
    try:
        program.run(
            [sys.executable, "-m", "qpipe.llamacpp.opening", path],
            name=_LLAMA,
            cwd=path.parent,  # the first place where Python looks for modules
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            on_line=output.append,
            quiet=True,
        )
    except StageError as error:
        words = [match[0].strip() for line in output if (match := _ABORT.search(line))]
        return {"reason": words[-1] if words else str(error)}
    (answer,) = (line.removeprefix(_ANSWER) for line in output if line.startswith(_ANSWER))
    reply: dict[str, str] = json.loads(answer)
    return reply


def main(path: Path) -> None:
    """Try to load ``path`` here and print what `ask` is to answer."""
    try:
        lib = library.load()
    except EngineMissingError as error:
        print(_ANSWER + json.dumps({"missing": str(error)}))
        return
    params = lib.c.llama_model_default_params()
    params.n_gpu_layers = 0
    params.no_alloc = True
    # llama.cpp 0.6.0-dev, llama_model_base::load_tensors, asserts that nothing is mapped.
    params.load_mode = LOAD_NONE
    loaded = lib.c.llama_model_load_from_file(bytes(path), params)
    print(_ANSWER + json.dumps({} if loaded else {"reason": lib.log.reason()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
