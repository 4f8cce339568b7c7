"""Pickles are taken where a recipe allows them for an exact commit, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import RecipeError, SourceError
from qpipe.sources import pickle_names
from qpipe.sources.hub_source import HubSource
from qpipe.sources.local_files import files_of
from qpipe.sources.pinning import PinnedSource, Pinner
from tests.cli import Answer, called, qpipe
from tests.hub import COMMIT, serve
from tests.hub.repositories import Stored

PICKLES = ["config.json", "pytorch_model.bin", "tokenizer.json", "training_args.bin"]


def refuse(source: HubSource, last: str | None) -> str:
    raise AssertionError("nobody asks the hub for a commit")


def pinner(folder: Path, names: list[str]) -> Pinner:
    return Pinner((folder,), folder / "hashes", {}, refuse, files=lambda source: (names, True))


def pickled(pinned: PinnedSource) -> bool:
    return pickle_names.is_source(pinned.params, pinned.where)


def test_a_repository_needs_the_exact_commit(tmp_path: Path) -> None:
    one = pinner(tmp_path, PICKLES)
    for source, revision in (("a/b", None), ("a/b", "main"), ("a/b@v1", None), ("a/b", "0" * 39)):
        with pytest.raises(RecipeError, match="needs the exact commit that you trust, not '"):
            one.pin(source, revision, allow_pickle=True)
    for source, revision in (("a/b", COMMIT), (f"hf:a/b@{COMMIT}", None)):
        pinned = one.pin(source, revision, allow_pickle=True)
        assert pinned.params["file"] == "pytorch_model.bin" and pickled(pinned)
        assert pinned.where["name"] == "a/b", "rows are called after the model"
    with pytest.raises(SourceError, match=r"set model\.allow_pickle=true"):
        one.pin(f"hf:a/b@{COMMIT}/pytorch_model.bin", None)


def test_safetensors_go_before_and_change_no_key(tmp_path: Path) -> None:
    one = pinner(tmp_path, [*PICKLES, "model.safetensors"])
    allowed = one.pin("a/b", COMMIT, allow_pickle=True)
    assert allowed == one.pin("a/b", COMMIT) and not pickled(allowed)


def test_what_a_commit_holds_is_remembered(tmp_path: Path) -> None:
    first = pinner(tmp_path, PICKLES).pin("a/b", COMMIT, allow_pickle=True)

    def offline(source: HubSource) -> tuple[list[str], bool]:
        raise AssertionError("asked again")

    again = Pinner((tmp_path,), tmp_path / "hashes", {}, refuse, files=offline)
    assert again.pin("a/b", COMMIT, allow_pickle=True) == first


def test_a_folder(tmp_path: Path) -> None:
    for name in (*PICKLES, "pytorch_model.bin.index.json", "model.msgpack"):
        (tmp_path / name).write_text("{}")
    one = pinner(tmp_path, [])
    for source in (str(tmp_path), str(tmp_path / "pytorch_model.bin")):
        with pytest.raises(SourceError, match=r"model\.allow_pickle=true"):
            one.pin(source, None)
        pinned = one.pin(source, None, allow_pickle=True)
        assert pickled(pinned)
        assert [file.name for file in files_of(Path(str(pinned.where["path"])))] == [
            "config.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "tokenizer.json"
        ]  # fmt: skip
    (tmp_path / "model.safetensors").write_text("{}")
    assert not pickled(one.pin(str(tmp_path), None, allow_pickle=True))


def test_a_reference_of_pickles_is_allowed_for_itself(tmp_path: Path) -> None:
    """run.allow_pickle is of ``run.reference``, and model.allow_pickle is not."""
    import shutil

    import torch
    from safetensors.torch import load_file

    whole = Path(__file__).parents[1] / "data" / "models" / "stories260K"
    shutil.copytree(whole, tmp_path / "pickled")
    torch.save(load_file(whole / "model.safetensors"), tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    asked = ("plan", "local", "model.source=builtin:stories260K", "run.reference=./pickled")
    refused = called(*asked, "model.allow_pickle=true", cwd=tmp_path)
    assert refused.code == 1 and "run.allow_pickle=true" in refused.stderr
    allowed = called(*asked, "run.allow_pickle=true", cwd=tmp_path)
    assert allowed.code == 0, allowed
    assert "original_download_unpickle: pickled" in allowed.stdout


@pytest.mark.slow
def test_names_from_a_listing_stay_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror may list what it likes: it is refused before anything is written."""
    from tests.hub.repositories import Reader

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    files = Reader.files

    def hostile(reader: Reader, folder: Path) -> dict[str, Stored]:
        own = files(reader, folder)
        return own | {"../x.json": own["config.json"]}

    monkeypatch.setattr(Reader, "files", hostile)
    with serve({"a/b": tmp_path / "model"}) as hub:
        done = _run(tmp_path, hub.url)
    assert done.code == 1
    assert "lists the file '../x.json', which is no place inside a folder" in done.stderr
    assert not [*tmp_path.rglob("x.json")]


@pytest.mark.slow
def test_a_repository_of_pickles_runs_end_to_end(tmp_path: Path) -> None:
    """Refused, then allowed: what is made is made of safetensors, and named after the commit."""
    import shutil

    import torch
    from safetensors.torch import load_file

    whole = Path(__file__).parents[1] / "data" / "models" / "stories260K"
    model = tmp_path / "model"
    shutil.copytree(whole, model, copy_function=shutil.copyfile)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with serve({"a/b": model}) as hub:
        refused = _run(tmp_path, hub.url)
        assert refused.code == 1 and "model.allow_pickle=true" in refused.stderr
        assert not [*tmp_path.rglob("pytorch_model.bin")][1:], "nothing of it was fetched"
        done = _run(tmp_path, hub.url, "model.allow_pickle=true")
    assert done.code == 0, done.stderr
    (made,) = (tmp_path / "outputs").rglob("models/*.gguf")
    from qpipe.gguf import reader

    assert reader.read(made).value("qpipe.source") == f"a/b@{COMMIT}"
    assert "pytorch_model.bin: read with weights_only" in done.stdout


def _run(folder: Path, url: str, *words: str) -> Answer:
    env = {
        "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": url
    }  # fmt: skip
    about = ("model.source=a/b", f"model.revision={COMMIT}", "evaluate=none")
    return qpipe("run", "local", *about, *words, cwd=folder, env=env)
