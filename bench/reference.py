"""How long a reference file takes into the store, beside hashing its bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.measure import Bench, Row, call, interleaved

_VOCABULARY, _WINDOWS, _N_CTX = 32_000, 64, 512
_PEER = "SHA-256 once"


def rows(bench: Bench) -> list[Row]:
    """One row, in seconds: a file of 1 GB, checked, pinned and linked."""
    folder = bench.sub("reference")
    file = folder / "of.reference.safetensors"
    if not file.exists():
        _write(file)
    store = folder / "store"
    words = [bench.qpipe, "reference", "import", file.name, "--store", store.name]

    def imported() -> None:
        shutil.rmtree(store, ignore_errors=True)
        call(words, cwd=folder)

    once = "import sys, pathlib, qpipe.support.hashing as h; h.of_file(pathlib.Path(sys.argv[1]))"
    taken = interleaved(
        {
            "import": imported,
            _PEER: lambda: call([bench.python, "-c", once, file.name], cwd=folder),
        },
        rounds=bench.rounds,
    )
    what = f"qpipe reference import, {file.stat().st_size / 1e9:.1f} GB"
    return [Row(what, taken["import"], "s", _PEER, taken[_PEER], limit=3)]


def _write(file: Path) -> None:
    """A reference of random distributions."""
    import numpy as np

    from qpipe.evaluators.reference_files.about import (
        FileAbout,
        MeasuredPart,
        ModelPart,
        StoredPart,
    )
    from qpipe.evaluators.reference_files.parts import protocol_part, text_part
    from qpipe.evaluators.reference_files.writing import write
    from qpipe.evaluators.text.reference import DISTRIBUTIONS, NLL, Reference
    from qpipe.evaluators.text.windows import About, Tokenized, Windows
    from qpipe.stages.evaluator import RESULT, write_result

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, _VOCABULARY, (_WINDOWS, _N_CTX)).astype(np.int32)
    spans = np.tile(np.array([_N_CTX // 2, _N_CTX - 1], np.int32), (_WINDOWS, 1))
    windows = Windows(tokens, spans, _WINDOWS, tokens.size)
    what = About(
        "t", f"llamacpp-512 chunks={_WINDOWS}", 1, "token", None, _N_CTX, _WINDOWS,
        tokens.size, windows.sha256,
    )  # fmt: skip
    folder = file.parent / "artifact"
    folder.mkdir(exist_ok=True)
    write_result(folder, {"n_vocab": _VOCABULARY, "top_k": None})
    tokenized = Tokenized(windows, what)
    stored = Reference(folder, tokenized)
    row = rng.integers(0, 1 << 16, stored.form.row_type.itemsize // 2).astype(np.uint16)
    one = row.view(stored.form.row_type)
    one["scale"], one["low"] = 1e-4, -12
    with (folder / DISTRIBUTIONS).open("wb") as opened:
        for _ in range(windows.scored):
            opened.write(one.tobytes())
    np.save(folder / NLL, np.ones(windows.scored))
    about = FileAbout(
        model=ModelPart(name="random"),
        text=text_part("t", ["t"], carried=True),
        protocol=protocol_part(tokenized),
        stored=StoredPart(n_vocab=_VOCABULARY),
        measured=MeasuredPart(backend="none"),
    )
    write(file, about, stored, ["t"])
    for name in (DISTRIBUTIONS, NLL, RESULT):
        (folder / name).unlink()
