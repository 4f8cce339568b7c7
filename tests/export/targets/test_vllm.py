"""`qpipe export --to vllm`: checked folders, and the command that serves each."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.core.layout import DEFAULT_RUNS
from qpipe.errors import UsageError
from qpipe.session.export import ExportOptions, ExportResult, export

_MODEL = Path(qpipe.__file__).parent / "data/tinystories-d256"


def made(folder: Path, config: dict[str, Any], *overrides: str) -> Path:
    """A folder with the store and the run of a checkpoint whose config.json has more fields."""
    shutil.copytree(_MODEL, folder / "Owl")
    settings = json.loads((folder / "Owl/config.json").read_text())
    (folder / "Owl/config.json").write_text(json.dumps(settings | config))
    session = qpipe.load(
        "local",
        f"model.source={folder / 'Owl'}",
        *(overrides or ("quantize=none", "quantize.dtype=source")),
        "evaluate=none",
        store=folder / "store",
        runs=folder / DEFAULT_RUNS,
    )
    session.run()
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a checkpoint as it is."""
    return made(tmp_path_factory.mktemp("vllm"), {"auto_map": {"AutoConfig": "own.Config"}})


def exported(folder: Path, out: Path, **options: Any) -> ExportResult:
    given = ExportOptions(**{"run": False, **options})
    store, runs = folder / "store", folder / DEFAULT_RUNS
    return export(["latest"], "vllm", out, store=store, runs=runs, options=given)


def test_a_folder_and_its_command(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "a model"
    result = exported(plain, out, memory=8 * 10**9, name="owl")
    config = json.loads((out / "config.json").read_text())
    assert (out / "model.safetensors").is_file()
    (record,) = result.exported.more["vllm"]
    words = shlex.split(record["command"])
    assert words[:3] == ["vllm", "serve", str(out)]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert int(given["--max-model-len"]) == config["max_position_embeddings"]
    assert given["--kv-cache-dtype"] == "auto"
    assert given["--served-model-name"].startswith("owl")
    assert "--trust-remote-code" not in words
    assert [note for note in result.notes if "auto_map" in note]
    assert [note for note in result.notes if "has no chat template" in note]
    assert record["command"] in result.exported.commands.values()


def test_memory_that_nobody_named(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpipe.machine.gpu_memory.totals", lambda: ())
    result = exported(plain, tmp_path / "out")
    assert [note for note in result.notes if "no GPU is here" in note and "24 GB" in note]
    monkeypatch.setattr("qpipe.machine.gpu_memory.totals", lambda: (8 << 30, 80 << 30))
    assert exported(plain, tmp_path / "other").exported.more["memory_bytes"] == 80 << 30


def test_what_does_not_fit(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not fit .* give larger ones by --memory"):
        exported(plain, tmp_path / "out", memory=10**9)
    assert not (tmp_path / "out").exists()


def test_gguf_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, {}, "quantize.type=Q8_0")
    with pytest.raises(UsageError, match="Q8_0: vLLM reads GGUF files of some architectures only"):
        exported(folder, tmp_path / "out")
    with pytest.raises(UsageError, match="--memory: is for --to vllm"):
        export(
            ["latest"],
            "folder",
            tmp_path / "out",
            store=folder / "store",
            runs=folder / DEFAULT_RUNS,
            options=ExportOptions(memory=1),
        )
    assert not (tmp_path / "out").exists()


def test_nothing_is_loaded_without_vllm(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIPE_ENGINES", str(tmp_path / "none"))
    result = exported(plain, tmp_path / "out", run=True)
    assert [note for note in result.notes if "`qpipe engines install vllm`" in note]
    assert result.exported.more["vllm"][0]["loaded"] is None
