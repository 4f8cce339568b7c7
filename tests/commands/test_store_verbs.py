"""ls, show and verify on small real stores, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpipe.commands import ls_text
from qpipe.core.key import Json
from qpipe.core.manifest import scan
from qpipe.core.store import ArtifactStore
from qpipe.session import listing
from tests.cli import Answer, called
from tests.commands.stores import flip, make, overwrite, path_of
from tests.core.synthetic import manifest


def ask(folder: Path, *words: str) -> Answer:
    return called(*words, "--store", str(folder / "store"), cwd=folder)


def ask_json(folder: Path, *words: str) -> Any:
    answer = ask(folder, *words, "--json")
    return json.loads(answer.stdout)


# -- ls -------------------------------------------------------------------------------------------


def test_ls_shows_the_newest_first(tmp_path: Path) -> None:
    store = tmp_path / "store"
    old = make(store, "Q8_0", size=2048, facts={"format": "Q8_0", "bits_per_weight": 8.5}, age=90)
    new = make(store, "ppl", stage="evaluate", facts={"ppl": 12.34567})
    answer = ask(tmp_path, "ls")
    head, first, second = answer.stdout.splitlines()
    assert head.split() == [
        "KEY", "STAGE", "MODEL", "NAME", "FORMAT", "SIZE", "BPW", "PPL", "TOOK", "MADE", "USED",
    ]  # fmt: skip
    assert first.split()[:8] == [
        new[:12], "evaluate", "evaluate[ppl]", "100", "B", "12.3457", "7.00", "s",
    ]  # fmt: skip
    assert second.split() == [
        old[:12], "quantize", "quantize[Q8_0]", "Q8_0", "2.00", "KiB", "8.50", "7.00", "s", "1m",
        "1m",
    ]  # fmt: skip
    assert answer.stderr == "2 artifact(s), 2.10 KiB\n"


def test_ls_as_json_is_whole(tmp_path: Path) -> None:
    key = make(tmp_path / "store", "Q8_0", facts={"format": "Q8_0"})
    document = ask_json(tmp_path, "ls")
    assert document["store"] == str(tmp_path / "store")
    (entry,) = document["artifacts"]
    assert entry["key"] == key
    assert entry["path"] == str(path_of(tmp_path / "store", key))
    assert entry["status"] == "ok"
    assert entry["size_bytes"] == 100
    assert entry["seconds"] == 7.0
    assert entry["format"] == "Q8_0"


def test_ls_reads_a_manifest_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    key = make(store, "Q8_0", facts={"format": "Q8_0"})
    first = ask(tmp_path, "ls")
    index = json.loads((store / "index.json").read_text())
    assert list(index["entries"]) == [key]
    assert ask(tmp_path, "ls").stdout == first.stdout
    manifest = path_of(store, key) / "manifest.json"
    overwrite(manifest, manifest.read_bytes().replace(b'"format": "Q8_0"', b'"format": "Q4_0"'))
    assert ask_json(tmp_path, "ls")["artifacts"][0]["format"] == "Q4_0"
    shutil.rmtree(path_of(store, key))
    assert ask_json(tmp_path, "ls")["artifacts"] == []
    assert json.loads((store / "index.json").read_text())["entries"] == {}


@pytest.mark.parametrize(
    "change", ["{", "[]", '{"fields": 1}', "wrong values", "null values", "no mapping"]
)
def test_ls_does_without_an_index_that_is_none(change: str, tmp_path: Path) -> None:
    key = make(tmp_path / "store", "Q8_0", facts={"format": "Q8_0"})
    listed = ask_json(tmp_path, "ls")
    path = tmp_path / "store" / "index.json"
    index = json.loads(path.read_text())
    stamp, values = index["entries"][key]
    wrong = {"wrong values": [stamp, [1, *values[1:]]], "null values": None}
    if change in wrong:
        change = json.dumps({**index, "entries": {key: wrong[change]}})
    if change == "no mapping":
        change = json.dumps({**index, "entries": [1]})
    path.write_text(change)
    assert ask_json(tmp_path, "ls") == listed
    assert json.loads(path.read_text()) == index


def test_ls_and_gc_say_of_which_model_an_artifact_is(tmp_path: Path) -> None:
    """By what it was made for, else by what it was made from: older artifacts say nothing."""
    store = tmp_path / "store"
    own = make(store, "tiny Q4_0", facts={"made_for": "tiny"})
    old = make(store, "old", stage="download", facts={"name": "OLD"})
    level = make(store, "Q8_0", inputs={"model": {"key": old, "digest": "d", "name": "download"}})
    ppl = make(
        store, "ppl", stage="evaluate", inputs={"model": {"key": level, "digest": "d", "name": "x"}}
    )
    orphan = make(store, "orphan", inputs={"model": {"key": "a" * 64, "digest": "d", "name": "x"}})
    models = {own: "tiny", old: "OLD", level: "OLD", ppl: "OLD", orphan: None}
    for _ in range(2):  # the second time from the index
        assert {e["key"]: e["model"] for e in ask_json(tmp_path, "ls")["artifacts"]} == models
    words = {line.split()[0]: line.split() for line in ask(tmp_path, "ls").stdout.splitlines()}
    assert words[own[:12]][1:4] == ["quantize", "tiny", "quantize[Q4_0]"]
    assert words[level[:12]][1:4] == ["quantize", "OLD", "quantize[Q8_0]"]
    assert {e["key"] for e in ask_json(tmp_path, "ls", "--model", "tiny")["artifacts"]} == {own}
    assert ask(tmp_path, "ls", "--model", "t").stderr.endswith("store of model 't'\n")
    dry = ("gc", "--max-size", "0", "--dry-run")
    assert {c["key"]: c["model"] for c in ask_json(tmp_path, *dry)["removed"]} == models
    words = {line.split()[0]: line.split() for line in ask(tmp_path, *dry).stdout.splitlines()}
    assert words[own[:12]][1:3] == ["tiny", "quantize[Q4_0]"]


def test_ls_leaves_columns_out_where_the_terminal_is_narrow(tmp_path: Path) -> None:
    facts: dict[str, Json] = {"made_for": "Qwen2.5-0.5B-Instruct", "format": "Q4_K_M", "ppl": 12.5}
    make(tmp_path / "store", "Qwen2.5-0.5B-Instruct Q4_K_M", facts=facts)
    entries = listing.entries(str(tmp_path / "store"))
    wide = ls_text.table(entries, 0.0)
    assert max(map(len, wide.splitlines())) > 100
    narrow = ls_text.table(entries, 0.0, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert {"KEY", "MODEL", "NAME", "SIZE", "USED"} <= {*narrow.splitlines()[0].split()}
    assert ls_text.table(entries, 0.0, 200) == wide


def test_ls_of_one_stage(tmp_path: Path) -> None:
    make(tmp_path / "store", "a")
    key = make(tmp_path / "store", "b", stage="evaluate")
    assert [e["key"] for e in ask_json(tmp_path, "ls", "--stage", "evaluate")["artifacts"]] == [key]
    answer = ask(tmp_path, "ls", "--stage", "convert")
    assert (answer.code, answer.stdout) == (0, "")
    assert "of stage 'convert'" in answer.stderr


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"stage": 1}', b"\xff\xfe", b'{"facts": {}, "files": 3}'],
)
def test_a_corrupt_manifest_is_listed_as_damaged(data: bytes, tmp_path: Path) -> None:
    good, bad = make(tmp_path / "store", "good"), make(tmp_path / "store", "bad")
    overwrite(path_of(tmp_path / "store", bad) / "manifest.json", data)
    answer = ask(tmp_path, "ls")
    assert answer.code == 0
    assert "Traceback" not in answer.stderr
    by_key = {line.split()[0]: line for line in answer.stdout.splitlines()}
    assert "(damaged)" in by_key[bad[:12]]
    assert "(damaged)" not in by_key[good[:12]]
    assert "1 damaged: `qpipe verify`" in answer.stderr
    states = {e["key"]: e["status"] for e in ask_json(tmp_path, "ls")["artifacts"]}
    assert states == {good: "ok", bad: "damaged"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ["a"]), ("stage", {"x": 1}), ("created", "now"), ("created", 10**400),
        ("files", [{"size": float("inf")}]), ("files", [{"size": "7"}]), ("facts", {"ppl": [1]}),
        ("facts", {"format": 7}), ("usage", {"seconds": float("nan")}), ("facts", {"ppl": "8"}),
    ],
)  # fmt: skip
def test_a_manifest_of_other_types_is_listed_as_damaged(
    field: str, value: object, tmp_path: Path
) -> None:
    bad = make(tmp_path / "store", "bad")
    file = path_of(tmp_path / "store", bad) / "manifest.json"
    overwrite(file, json.dumps(json.loads(file.read_bytes()) | {field: value}).encode())
    (entry,) = listing.entries(str(tmp_path / "store"))
    assert (entry["status"], entry["name"]) == ("damaged", None)
    json.dumps(entry, allow_nan=False)


def test_ls_of_what_is_no_store_of_ours(tmp_path: Path) -> None:
    """Folders and names of all kinds, a pipe and a link to itself where a manifest should be."""
    shard = tmp_path / "store" / "artifacts" / "ab"
    names = (b"\x1b[2J", b"caf\xe9", b"x" * 255, b"piped", b"looped", b"nested")
    for name in names:
        (shard / os.fsdecode(name)).mkdir(parents=True)
    os.mkfifo(shard / "piped" / "manifest.json")
    (shard / "looped" / "manifest.json").symlink_to("manifest.json")
    (shard / "nested" / "manifest.json").write_text("[" * 10**6)
    (shard / "gone").symlink_to("nowhere")
    (shard / "itself").symlink_to("itself")
    (shard.parent / "itself").symlink_to("itself")
    (shard.parent / "file").touch()
    answer = ask(tmp_path, "ls")
    assert (answer.code, answer.stdout.count("(damaged)")) == (0, len(names) + 1)
    assert "\x1b" not in answer.stdout
    assert len(ask_json(tmp_path, "ls")["artifacts"]) == len(names) + 1
    (tmp_path / "other").touch()
    for store in ("other", "x" * 300):
        refused = called("ls", "--store", store, cwd=tmp_path)
        assert (refused.code, refused.stdout) == (1, "")
        assert "cannot be read" in refused.stderr


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert ask(tmp_path, "ls").stderr.endswith("(there is no such folder yet)\n")
    assert ask_json(tmp_path, "ls")["artifacts"] == []
    assert ask(tmp_path, "verify").code == 0
    assert ask(tmp_path, "gc", "--max-size", "0").code == 0
    assert list(tmp_path.iterdir()) == [], "looking creates nothing"


def test_the_store_is_named_by_the_environment(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a")
    answer = called("ls", cwd=tmp_path, env={"QPIPE_STORE": str(tmp_path / "elsewhere")})
    assert "quantize[a]" in answer.stdout


# -- show -----------------------------------------------------------------------------------------


def test_show_says_everything(tmp_path: Path) -> None:
    source = make(tmp_path / "store", "source")
    key = make(
        tmp_path / "store",
        "Q8_0",
        facts={"format": "Q8_0", "bits_per_weight": 8.5},
        inputs={"model": {"key": source, "digest": "d" * 64, "name": "convert"}},
    )
    answer = ask(tmp_path, "show", key[:8])
    assert answer.code == 0
    said = dict(
        line.split("  ", 1) for line in answer.stdout.splitlines() if not line.startswith(" ")
    )
    assert said["key"].strip() == key
    assert said["took"].strip() == "7.00 s (6.00 s of CPU, 1.00 MiB of memory at most)"
    assert said["inputs"].split() == ["model", source[:12], "convert"]
    assert "model.gguf  100 B (100 bytes)  SHA-256 " in said["files"]
    assert "bits_per_weight  8.5" in answer.stdout

    document = ask_json(tmp_path, "show", key[:8])
    assert document["key"] == key
    assert document["params"] == {"type": "Q8_0"}
    assert document["path"] == str(path_of(tmp_path / "store", key))


def test_show_says_where_the_files_are(tmp_path: Path) -> None:
    """Of one file that file, of several their folder; links in runs' folders; a source's place."""
    key, other = (make(tmp_path / "store", name) for name in ("model", "other"))
    own, links = path_of(tmp_path / "store", key) / "model.gguf", []
    for run in ("2026-01-01_a", "2026-02-01_a"):
        (models := tmp_path / "runs" / run / "models").mkdir(parents=True)
        links.append(models / "tiny-Q4_0.gguf")
        os.link(own, links[-1])
    asked = (f"--runs={tmp_path / 'runs'}",)
    lines = ask(tmp_path, "show", key[:8], *asked).stdout.splitlines()
    assert f"file        {own}" in lines
    assert [line.split()[-1] for line in lines if "tiny" in line] == [*map(str, reversed(links))]
    document = ask_json(tmp_path, "show", key, *asked)
    assert (document["file"], document["source"]) == (str(own), None)
    assert document["links"] == [*map(str, reversed(links))]
    assert ask_json(tmp_path, "show", other, *asked)["links"] == []


@pytest.mark.parametrize("recorded", [True, False])
def test_show_says_where_a_download_is_from(recorded: bool, tmp_path: Path) -> None:
    """As recorded; what was fetched before that was done says where its links lead."""
    model = tmp_path / "my model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text(name)
    claim = ArtifactStore(tmp_path / "store").claim("ab" * 32)
    assert claim is not None
    for file in model.iterdir():
        (claim.folder / file.name).symlink_to(file)
    facts = {"fetched_from": "/home/me/my model"} if recorded else {}
    made = replace(manifest(claim.key, scan(claim.folder)), stage="download", facts=facts)
    ArtifactStore(tmp_path / "store").commit(claim, made)
    said = ask(tmp_path, "show", claim.key[:8]).stdout.splitlines()
    assert f"source      {'/home/me/my model' if recorded else model}" in said
    assert f"path        {path_of(tmp_path / 'store', claim.key)}" in said


def test_show_takes_a_path(tmp_path: Path) -> None:
    key = make(tmp_path / "store", "a")
    assert ask_json(tmp_path, "show", str(path_of(tmp_path / "store", key)))["key"] == key


def test_show_of_none_of_several_and_of_a_damaged_one(tmp_path: Path) -> None:
    keys = [make(tmp_path / "store", str(n)) for n in range(20)]
    none = ask(tmp_path, "show", "xyz")
    assert none.code == 1
    assert "'xyz'" in none.stderr
    twice = next(k[0] for k in keys if sum(o[0] == k[0] for o in keys) > 1)
    several = ask(tmp_path, "show", twice)
    assert several.code == 1
    assert "give more digits" in several.stderr
    overwrite(path_of(tmp_path / "store", keys[0]) / "manifest.json", b"{")
    damaged = ask(tmp_path, "show", keys[0])
    assert damaged.code == 1
    assert "qpipe verify" in damaged.stderr
    assert damaged.stdout == ""


# -- verify ---------------------------------------------------------------------------------------


def test_verify_of_a_whole_store(tmp_path: Path) -> None:
    make(tmp_path / "store", "a")
    answer = ask(tmp_path, "verify")
    assert (answer.code, answer.stdout) == (0, "1 of 1 artifact(s) are whole\n")


@pytest.mark.parametrize("name", ["", "published", "published/provenance.json"])
def test_verify_of_what_is_neither_key_nor_folder(name: str, tmp_path: Path) -> None:
    """A name that is empty or wrong is not taken for all artifacts."""
    said = called("verify", name, cwd=tmp_path)
    assert said.code == 2 and said.stdout == ""
    assert said.stderr.startswith(f"qpipe: '{name}': no folder, no FILE.reference.safetensors, and")


def test_verify_finds_a_flipped_bit_and_moves_it_away(tmp_path: Path) -> None:
    good, bad = make(tmp_path / "store", "good"), make(tmp_path / "store", "bad")
    flip(path_of(tmp_path / "store", bad) / "model.gguf")
    assert {e["status"] for e in ask_json(tmp_path, "ls")["artifacts"]} == {"ok"}
    answer = ask(tmp_path, "verify", "--json")
    assert answer.code == 1
    document = json.loads(answer.stdout)
    assert document["verified"] == 2
    (record,) = document["damaged"]
    assert record["key"] == bad
    assert "model.gguf" in record["problem"]
    assert (Path(record["moved_to"]) / "model.gguf").is_file()
    assert [e["key"] for e in ask_json(tmp_path, "ls")["artifacts"]] == [good]
    assert ask(tmp_path, "verify").code == 0


def test_verify_of_one(tmp_path: Path) -> None:
    good, bad = make(tmp_path / "store", "good"), make(tmp_path / "store", "bad")
    overwrite(path_of(tmp_path / "store", bad) / "manifest.json", b"{")
    assert ask(tmp_path, "verify", good[:10]).code == 0
    answer = ask(tmp_path, "verify", bad[:10])
    assert answer.code == 1
    assert answer.stdout.splitlines()[0].startswith(bad[:12])
    assert "moved to" in answer.stdout


def test_verify_moves_what_was_made_of_it_away_too(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model = make(store, "model")
    entry = {"key": model, "digest": "d" * 64, "name": "model"}
    ppl = make(store, "ppl", stage="evaluate", inputs={"model": entry})
    good = make(store, "good")
    flip(path_of(store, model) / "model.gguf")
    answer = ask(tmp_path, "verify", model[:10])
    assert answer.code == 1
    assert f"{ppl[:12]}  it was made from {model[:12]}, which is damaged" in answer.stdout
    assert "0 of 1 artifact(s) are whole, 2 moved away" in answer.stdout
    assert [e["key"] for e in ask_json(tmp_path, "ls")["artifacts"]] == [good]


def test_verify_finds_a_folder_that_links_to_itself(tmp_path: Path) -> None:
    folder = path_of(tmp_path / "store", make(tmp_path / "store", "a"))
    folder.chmod(0o755)
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    answer = ask(tmp_path, "verify")
    assert answer.code == 1
    assert "leads back to itself" in answer.stdout
    assert ask(tmp_path, "verify").stdout == "0 of 0 artifact(s) are whole\n"


# -- a store of somebody else's -------------------------------------------------------------------


def test_a_read_only_store_can_be_looked_at(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    whole, bad = make(disk / "store", "whole"), make(disk / "store", "bad")
    flip(path_of(disk / "store", bad) / "model.gguf")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert whole[:12] in ask(disk, "ls").stdout
    assert ask(disk, "show", whole).code == 0
    verified = ask(disk, "verify")
    assert verified.code == 1
    assert "left where it is" in verified.stdout
    assert "1 of 2 artifact(s) are whole" in verified.stdout
    dry = ask_json(disk, "gc", "--max-size", "0", "--dry-run")
    assert {candidate["key"] for candidate in dry["removed"]} == {whole, bad}
    collected = ask(disk, "gc", "--max-size", "0")
    assert collected.code == 1
    assert "cannot be written" in collected.stderr
    assert "Traceback" not in verified.stderr + collected.stderr
    assert path_of(disk / "store", whole).is_dir()
