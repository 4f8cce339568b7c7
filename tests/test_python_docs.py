"""The examples of docs/python.md run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "python.md"


def test_examples_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QPIPE_STORE", raising=False)
    monkeypatch.delenv("QPIPE_RUNS", raising=False)
    text = DOCS.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) >= 8
    namespace: dict[str, object] = {}
    for block in blocks:
        first = text[: block.start(1)].count("\n")
        code = "\n" * first + block[1]  # so that an error tells the line of the document
        exec(compile(code, str(DOCS), "exec"), namespace)
