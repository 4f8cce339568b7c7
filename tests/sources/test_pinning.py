from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.errors import SourceError
from qpipe.sources.download import Download, DownloadParams
from qpipe.sources.hub_source import HubSource, parse_hub
from qpipe.sources.model_class import ModelClass
from qpipe.sources.pinning import Pinner
from qpipe.stages.base import Work

COMMIT = "a" * 40


def pinner(
    tmp_path: Path,
    *,
    locked: dict[str, str] | None = None,
    resolve: Callable[[HubSource, str | None], str] | None = None,
) -> Pinner:
    def refuse(source: HubSource, last: str | None) -> str:
        raise AssertionError(f"the hub was asked for {source}")

    return Pinner((tmp_path,), tmp_path / "hashes", locked or {}, resolve or refuse)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "pytorch_model.bin").write_bytes(b"the same in another form")
    return folder


def test_a_local_tree_is_pinned_by_content_alone(checkpoint: Path, tmp_path: Path) -> None:
    first = pinner(tmp_path).pin("model", None)
    checkpoint.rename(tmp_path / "elsewhere")
    second = pinner(tmp_path).pin(str(tmp_path / "elsewhere"), None)
    assert first.params == second.params
    assert first.where != second.where


def test_what_is_no_part_of_a_checkpoint_does_not_count(checkpoint: Path, tmp_path: Path) -> None:
    before = pinner(tmp_path).pin("model", None).params
    (checkpoint / "pytorch_model.bin").write_bytes(b"changed")
    assert pinner(tmp_path).pin("model", None).params == before
    (checkpoint / "config.json").write_text("{ }")
    assert pinner(tmp_path).pin("model", None).params != before


def test_digests_are_remembered_until_the_file_changes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = checkpoint / "model.safetensors"
    before = pinner(tmp_path).pin("model", None).params
    read: list[Path] = []

    def noticed(path: Path) -> str:
        read.append(path)
        return "0" * 64

    monkeypatch.setattr("qpipe.core.digests.file_sha256", noticed)
    assert pinner(tmp_path).pin("model", None).params == before
    assert read == []
    stat = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    # Same size, mtime and inode, as after an edit whose tool puts the time back.
    assert pinner(tmp_path).pin("model", None).params != before
    assert read == [weights]


def test_damaged_notes_are_hashed_anew(checkpoint: Path, tmp_path: Path) -> None:
    before = pinner(tmp_path).pin("model", None).params
    for note in (tmp_path / "hashes").iterdir():
        note.write_text("{")
    assert pinner(tmp_path).pin("model", None).params == before


def test_a_commit_needs_nobody(tmp_path: Path) -> None:
    assert pinner(tmp_path).pin("someone/model", COMMIT).params == {
        "kind": "model",
        "repo": "someone/model",
        "commit": COMMIT,
        "file": None,
    }


def test_a_branch_is_resolved_once_locked(tmp_path: Path) -> None:
    asked: list[HubSource] = []

    def resolve(source: HubSource, last: str | None) -> str:
        asked.append(source)
        return last or COMMIT

    asking = pinner(tmp_path, resolve=resolve)
    pinned = asking.pin("someone/model", "main")
    assert asking.notes == {"model:someone/model@main": COMMIT}
    locked = pinner(tmp_path, locked=asking.notes).pin("someone/model", None)
    assert locked == pinned
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", HubSource("a/b", "model", "main", None)),
        ("hf:a/b@v1", HubSource("a/b", "model", "v1", None)),
        ("hf:a/b@v1/x/y.gguf", HubSource("a/b", "model", "v1", "x/y.gguf")),
        ("hf:datasets/a/b/t.txt", HubSource("a/b", "dataset", "main", "t.txt")),
        ("a/b@v1", HubSource("a/b", "model", "v1", None)),
        ("a/b:q4_k_m", HubSource("a/b", "model", "main", None, "Q4_K_M")),
        ("a/b@v1:UD-Q4_K_XL", HubSource("a/b", "model", "v1", None, "UD-Q4_K_XL")),
        ("hf:a/b:Q8_0", HubSource("a/b", "model", "main", None, "Q8_0")),
        ("hf.co/a/b:Q8_0", HubSource("a/b", "model", "main", None, "Q8_0")),
        ("a/b/x/y.gguf", HubSource("a/b", "model", "main", "x/y.gguf")),
        ("https://huggingface.co/a/b", HubSource("a/b", "model", "main", None)),
        ("https://hf.co/a/b:Q8_0", HubSource("a/b", "model", "main", None, "Q8_0")),
        (
            "https://huggingface.co/a/b/blob/v1/x%20y.gguf?download=true",
            HubSource("a/b", "model", "v1", "x y.gguf"),
        ),
        (
            "https://huggingface.co/datasets/a/b/resolve/main/t.txt",
            HubSource("a/b", "dataset", "main", "t.txt"),
        ),
        ("https://elsewhere.org/a/b", None),
        ("./a/b", None),
        ("/a/b", None),
        ("a", None),
        ("a/b/c", None),
    ],
)
def test_forms_of_hub_sources(text: str, expected: HubSource | None) -> None:
    assert parse_hub(text, None) == expected


@pytest.mark.parametrize(
    ("source", "revision"),
    [
        ("a/b", "../../../../etc"),
        ("a/b", "refs/../../x"),
        ("a/b", "/etc/passwd"),
        ("a/b", "x//y"),
        ("a/b", "a\\b"),
        ("hf:a/b@v1/../../x", None),
        ("hf:a/b@v1/x/./y.gguf", None),
        ("a/b/../../x.gguf", None),
        ("https://huggingface.co/a/b/resolve/main/%2e%2e/x.gguf", None),
    ],
)
def test_names_that_lead_out_of_a_folder_are_refused(
    tmp_path: Path, source: str, revision: str | None
) -> None:
    with pytest.raises(SourceError, match="is no name on the hub"):
        pinner(tmp_path).pin(source, revision)


def test_a_revision_may_have_slashes(tmp_path: Path) -> None:
    asking = pinner(tmp_path, resolve=lambda source, last: COMMIT)
    assert asking.pin("a/b", "refs/pr/1").params["commit"] == COMMIT


def test_the_last_commit_is_remembered(tmp_path: Path) -> None:
    told: list[str | None] = []

    def resolve(source: HubSource, last: str | None) -> str:
        told.append(last)
        return COMMIT

    for _ in range(2):
        pinner(tmp_path, resolve=resolve).pin("a/b", None)
    assert told == [None, COMMIT]


def test_a_lock_file_has_commits_alone(tmp_path: Path) -> None:
    locked = {"model:a/b@main": "../../x"}
    with pytest.raises(SourceError, match="no commit"):
        pinner(tmp_path, locked=locked).pin("a/b", None)


def test_two_revisions_contradict(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="revision 'v1', and revision 'v2' too"):
        parse_hub("hf:a/b@v1", "v2")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("./missing", "no such file or folder"),
        ("builtin:nothing", "ships no such model"),
        ("", "'' is no source"),  # not the folder that one is in
        ("empty", "is empty: give the folder"),
    ],
)
def test_what_is_not_there(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=re.escape(words)):
        pinner(tmp_path).pin(source, None)


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    """A pipe would be waited for, and standard input is another one in a worker."""
    os.mkfifo(tmp_path / "text.txt")
    for source in ("text.txt", "/dev/null"):
        with pytest.raises(SourceError, match=r"is a pipe or a device.* save it to a file"):
            pinner(tmp_path).pin(source, None)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch(mode=0)
    with pytest.raises(SourceError, match=r"text\.txt: cannot be read: Permission denied"):
        pinner(tmp_path).pin("text.txt", None)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has such a file")
def test_a_file_that_fails_while_it_is_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"mem: cannot be read: "):
        pinner(tmp_path).pin("/proc/self/mem", None)


def test_a_look_before_a_run_leaves_no_trace_on_the_source(
    checkpoint: Path, tmp_path: Path
) -> None:
    """A hard link changes a file's ctime, and then it would be hashed again each time."""
    where = pinner(tmp_path).pin("model", None).where
    before = (checkpoint / "model.safetensors").stat()
    out = tmp_path / "out"
    out.mkdir()
    params = DownloadParams(kind="local")
    Download().run(params, Work({}, out, 1, lambda *at: None, where, passing=True))
    assert (out / "model.safetensors").read_bytes() == b"weights"
    assert (checkpoint / "model.safetensors").stat().st_ctime_ns == before.st_ctime_ns


def test_the_class_of_a_model(checkpoint: Path, tmp_path: Path) -> None:
    """Of the weights that are taken: beside a GGUF file alone config.json says nothing of it."""
    config = checkpoint / "config.json"
    config.write_text(
        '{"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "fp8"}}'
    )
    mine = pinner(tmp_path)
    assert mine.model_class(mine.pin(str(checkpoint), None)) == ModelClass(
        "LlamaForCausalLM", "fp8"
    )
    config.write_text('{"architectures": []}')
    assert mine.model_class(mine.pin(str(checkpoint), None)) is None
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "m.gguf").write_bytes(b"GGUF")
    assert mine.model_class(mine.pin(str(folder), None)) is None


def test_the_class_of_a_commit_is_asked_for_once(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"architectures": ["LlamaForCausalLM"]}')
    asked: list[HubSource] = []

    def fetch(source: HubSource) -> Path:
        asked.append(source)
        return config

    for _ in range(2):
        mine = replace(pinner(tmp_path), config=fetch)
        pinned = mine.pin("someone/model", "0123456789" * 4)
        assert mine.model_class(pinned) == ModelClass("LlamaForCausalLM", None)
    assert [source.repo for source in asked] == ["someone/model"]


LADDER = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "BF16/m-BF16-00001-of-00002.gguf",
          "BF16/m-BF16-00002-of-00002.gguf", "mmproj-F16.gguf", "m.imatrix.gguf"]  # fmt: skip


def test_a_type_becomes_a_file_of_the_commit_once(tmp_path: Path) -> None:
    asked: list[HubSource] = []

    def files(source: HubSource) -> tuple[list[str], bool]:
        asked.append(source)
        return LADDER, True

    asking = replace(pinner(tmp_path), files=files)
    for kind, file in (("bf16", LADDER[2]), ("Q8_0", LADDER[1])):
        for _ in range(2):
            params = asking.pin(f"a/b:{kind}", COMMIT).params
            assert params == {"kind": "model", "repo": "a/b", "commit": COMMIT, "file": file}
    assert asked == [HubSource("a/b", "model", COMMIT, None, kind) for kind in ("BF16", "Q8_0")]


def test_what_the_cache_alone_tells_is_not_remembered(tmp_path: Path) -> None:
    asking = replace(pinner(tmp_path), files=lambda source: (["m-UD-Q4_K_M.gguf"], False))
    assert asking.pin("a/b:Q4_K_M", COMMIT).params["file"] == "m-UD-Q4_K_M.gguf"
    whole = replace(pinner(tmp_path), files=lambda source: (["m-Q4_K_M.gguf"], True))
    assert whole.pin("a/b:Q4_K_M", COMMIT).params["file"] == "m-Q4_K_M.gguf"


def test_a_typing_error_in_a_path_is_told_as_one(tmp_path: Path) -> None:
    def missing(source: HubSource, last: str | None) -> str:
        raise SourceError("there is no such repository")

    with pytest.raises(SourceError, match=r"^my/models/m\.gguf: no such file here, and as"):
        pinner(tmp_path, resolve=missing).pin("my/models/m.gguf", None)


def test_a_file_of_weights_stands_for_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    whole = pinner(tmp_path).pin("model", None)
    named = pinner(tmp_path).pin("model/model.safetensors", None)
    assert named.params == whole.params
    assert named.where["name"] == "model"
    (checkpoint / "model.fp16.safetensors").write_bytes(b"half")
    with pytest.raises(SourceError, match="two sets of weights"):
        pinner(tmp_path).pin("model", None)
    assert pinner(tmp_path).pin("model/model.safetensors", None).params == whole.params
    half = pinner(tmp_path).pin("model/model.fp16.safetensors", None)
    assert half.params != whole.params
    target = tmp_path / "taken"
    target.mkdir()
    work = Work({}, target, 1, lambda done, total, unit: None, half.where, passing=True)
    Download().run(DownloadParams.model_validate(half.params), work)
    assert {path.name for path in target.iterdir()} == {"config.json", "model.fp16.safetensors"}


def test_a_link_that_leads_nowhere_is_told(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").symlink_to("../../blobs/gone")
    with pytest.raises(SourceError, match=r"a link to \.\./\.\./blobs/gone, which is not there"):
        pinner(tmp_path).pin("model", None)


def test_an_address_with_too_few_slashes_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it has to begin with https://") as error:
        pinner(tmp_path).pin("https:/h/m.gguf?sig=SECRET", None)
    assert "SECRET" not in str(error.value)


def test_the_case_of_a_scheme_does_not_count(checkpoint: Path, tmp_path: Path) -> None:
    upper = pinner(tmp_path).pin(f"FILE://{checkpoint}", None)
    assert upper.params == pinner(tmp_path).pin("model", None).params
