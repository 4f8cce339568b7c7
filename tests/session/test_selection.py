"""Artifacts by model, stage and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.core.store import ArtifactStore
from qpipe.errors import UsageError
from qpipe.session.selection import Selection
from tests.cli import qpipe
from tests.commands.stores import finished_run, make


def made_from(key: str, role: str = "model") -> dict[str, dict[str, str]]:
    return {role: {"key": key, "digest": "d" * 64, "name": "x"}}


def test_what_was_made_from_a_model_at_any_remove(tmp_path: Path) -> None:
    root, store = tmp_path / "store", ArtifactStore(tmp_path / "store")
    keys: dict[str, list[str]] = {}
    for name in ("a", "b"):
        source = make(root, f"source {name}", stage="download", facts={"name": name})
        model = make(root, f"level {name}", inputs=made_from(source, "checkpoint"))
        ppl = make(root, f"ppl {name}", stage="evaluate", inputs=made_from(model))
        keys[name] = [source, model, ppl]
    text = make(root, "text", stage="tokens")
    assert Selection().keys(store, tmp_path) is None
    assert Selection(model="a").keys(store, tmp_path) == {*keys["a"]}
    assert Selection(model="b", stage="evaluate").keys(store, tmp_path) == {keys["b"][2]}
    with pytest.raises(UsageError, match="--model c"):
        Selection(model="c").keys(store, tmp_path)
    with pytest.raises(UsageError, match=r"--stage evalute.*evaluate"):
        Selection(stage="evalute").keys(store, tmp_path)

    words = ("gc", "--model", "a", "--max-size", "0", "--json", "--store", str(root))
    removed = {c["key"] for c in json.loads(qpipe(*words, cwd=tmp_path).stdout)["removed"]}
    assert removed == {*keys["a"]}
    assert {*store.all_keys()} == {*keys["b"], text}


def test_a_run_and_its_rows_where_the_download_is_gone(tmp_path: Path) -> None:
    paths = finished_run(tmp_path)
    document = json.loads(paths.summary.read_text())
    model, *_ = (row for row in document["rows"] if row["key"])
    model["model"] = "tiny"
    paths.summary.write_text(json.dumps(document))
    paths.events.touch()
    store, runs = ArtifactStore(tmp_path / "store"), tmp_path / "runs"
    other = make(store.paths.root, "other")
    keys = {*store.all_keys()}
    assert Selection(run="first").keys(store, runs) == keys - {other}
    assert model["key"] in (Selection(model="tiny").keys(store, runs) or ())
    with pytest.raises(UsageError, match="frst"):
        Selection(run="frst").keys(store, runs)
