from __future__ import annotations

import json
import re
from pathlib import Path

from qpipe.report.html.provenance import section
from qpipe.report.runs import read_summary, summary
from tests.commands.stores import finished_run


def test_it_says_how_a_run_was_made(tmp_path: Path) -> None:
    document = json.loads(finished_run(tmp_path).summary.read_bytes())
    document |= {
        "command": ["qpipe", "run", "<b>demo"],
        "started": 1.8e9,
        "qpipe": "0.1.0",
        "python": "3.12.1",
        "machine": {"processor": "Abacus 3000", "cores": 2},
        "lock": {"owner/name": "0" * 40},
        "tools": {"gguf": ["0.19.0"]},
    }
    text = section(summary(document, Path("run.json")))
    assert "qpipe run &lt;b&gt;demo" in text and "<b>" not in text
    assert "gguf 0.19.0" in text and "Abacus 3000, 2" in text
    assert f"owner/name @ {'0' * 40}" in text
    nodes = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td>', text)
    assert ("quantize[Q4_0]", "convert") in nodes


def test_a_run_of_an_older_qpipe(tmp_path: Path) -> None:
    """Which wrote no more of its nodes than name, stage, key and status."""
    paths = finished_run(tmp_path)
    document = json.loads(paths.summary.read_bytes())
    names = ("name", "stage", "key", "status")
    document["nodes"] = [{name: node[name] for name in names} for node in document["nodes"]]
    paths.summary.write_text(json.dumps(document))
    text = section(read_summary(paths))
    assert "quantize[Q4_0]" in text
    assert "Settings" not in text
