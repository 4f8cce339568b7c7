"""What is fuzzed: each reader behind its public entry, with files that it reads without complaint.

A target makes its files in a folder once; each input is one of them damaged, the others whole.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from qpipe.core import key
from qpipe.errors import RecipeError
from qpipe.gguf import values
from tests.fuzz import changes
from tests.fuzz.changes import Change, Gguf

DATA = Path(__file__).parents[1] / "data" / "models"


@dataclass(frozen=True)
class Target:
    """``make`` fills a folder; ``files`` names those that are damaged, and how; ``read`` reads."""

    make: Callable[[Path], None]
    files: Mapping[str, Sequence[Change]]
    read: Callable[[Path], None]

    def damaged(self, whole: Mapping[str, bytes], random: Random) -> tuple[str, bytes]:
        """The name of a file and what it then holds."""
        name = random.choice(list(self.files))
        return name, random.choice(self.files[name])(whole[name], random)


def command(module: str, *words: str, verb: str | None = None, as_json: bool = False) -> int:
    """A verb of the command line, in this process, its words caught."""
    import importlib

    room = importlib.import_module(f"qpipe.commands.{module}")
    parser = argparse.ArgumentParser()
    room.configure(parser, verb or module)
    arguments = parser.parse_args([*words, *(["--json"] if as_json else [])])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code: int = room.run(arguments)
    shown = out.getvalue() + err.getvalue()
    assert "\x1b" not in shown, "a control sequence was sent to the terminal"
    shown.encode()
    if as_json:
        json.loads(out.getvalue(), parse_constant=_no_constant)
    return code


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _inspect(path: Path) -> None:
    for as_json in (False, True):
        store = str(path.parent / "store")
        command("inspect", str(path), "--tensors", "--store", store, as_json=as_json)


# -- GGUF -----------------------------------------------------------------------------------------


def gguf() -> Gguf:
    """A small model with a vocabulary."""
    fields = {
        "general.architecture": values.string("llama"),
        "general.file_type": values.u32(2),
        "general.name": values.string("tiny"),
        "general.alignment": values.u32(32),
        "general.source.url": values.string("x"),
        "llama.context_length": values.u32(128),
        "llama.block_count": values.u32(1),
        "tokenizer.ggml.model": values.string("llama"),
        "tokenizer.ggml.tokens": values.strings([b"<s>", b"a", b"\xff"]),
        "tokenizer.ggml.scores": values.f32s([0.0, 1.0, math.inf]),
        "tokenizer.ggml.bos_token_id": values.u32(0),
        "tokenizer.chat_template": values.string("{{ messages }}"),
    }
    tensors = [
        [b"token_embd.weight", [32, 4], 0, 0],
        [b"blk.0.ffn_up.weight", [32, 32], 2, 512],
        [b"output_norm.weight", [32], 1, 1088],
    ]
    return Gguf(fields, tensors, bytes(1152))


def _make_gguf(folder: Path) -> None:
    (folder / "x.gguf").write_bytes(gguf().dump())


def _plain() -> Gguf:
    """A model in half precision, to be quantized."""
    made = gguf()
    made.fields[b"general.file_type"] = values.u32(1)
    made.fields |= {
        b"llama.expert_count": values.u32(0),
        b"llama.attention.head_count": values.u32(2),
    }
    made.tensors = [
        [b"token_embd.weight", [32, 4], 1, 0],
        [b"blk.0.attn_v.weight", [256, 2], 1, 256],
        [b"blk.0.ffn_down.weight", [256, 2], 30, 1280],
        [b"output_norm.weight", [32], 0, 2304],
    ]
    made.counts = [len(made.tensors), len(made.fields)]
    made.data = bytes(2432)
    return made


def _make_plain(folder: Path) -> None:
    (folder / "x.gguf").write_bytes(_plain().dump())


def _quantize(folder: Path) -> None:
    from qpipe.gguf.quantize import prepare

    for kind in ("Q4_0", "Q4_K_M", "Q3_K_L"):
        prepare(folder / "x.gguf", kind)


def _imatrix() -> Gguf:
    fields = {
        "general.type": values.string("imatrix"),
        "imatrix.datasets": values.strings([b"a.txt"]),
        "imatrix.chunk_count": values.u32(7),
        "imatrix.chunk_size": values.u32(512),
    }
    tensors = [
        [b"blk.0.ffn_up.weight.in_sum2", [32, 2], 0, 0],
        [b"blk.0.ffn_up.weight.counts", [1, 2], 0, 256],
    ]
    return Gguf(fields, tensors, np.full(66, 3.0, np.float32).tobytes() + bytes(24))


def _make_imatrix(folder: Path) -> None:
    (folder / "m.gguf").write_bytes(_imatrix().dump())
    entries = struct.pack("<i", 2)
    for name in (b"blk.0.ffn_up.weight", b"b"):
        entries += struct.pack(f"<i{len(name)}sii", len(name), name, 4, 32)
        entries += np.full(32, 2.0, np.float32).tobytes()
    (folder / "m.dat").write_bytes(entries + struct.pack("<ii4s", 40, 4, b"text"))


def _read_imatrix(folder: Path) -> None:
    from qpipe.gguf import imatrix

    for path in sorted(folder.glob("m.*")):
        found = imatrix.read(path)
        found.metadata()
        for name in found.weights:
            found.of(name, (1, 16, found.weights[name].size))


# -- checkpoints ----------------------------------------------------------------------------------


def _make_checkpoint(folder: Path) -> None:
    shutil.copytree(DATA / "stories260K", folder, dirs_exist_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / "README.md").write_text(
        "---\nlicense: [mit, 1.0]\nname: x\ntags:\n- no\n- b\nbase_model: a/b-7b\n"
        "model-index:\n- {name: x, results: [{value: 1.5}]}\n---\n# x\n"
    )
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def _make_parts(folder: Path) -> None:
    _make_checkpoint(folder)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model-00001-of-00001.safetensors").write_bytes(data)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    index = {name: "model-00001-of-00001.safetensors" for name in header if name[:2] != "__"}
    document = {"metadata": {"total_size": 1}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))


def _prepare(folder: Path) -> None:
    from qpipe.gguf.convert import prepare

    prepare(folder, outtype="SOURCE")


def _make_architectures(folder: Path) -> None:
    from tests.gguf.arch_checkpoints import write
    from tests.gguf.test_gguf_arch import CASES

    assert CASES.keys() >= set(_ARCHITECTURES)
    for name in _ARCHITECTURES:
        fields, shapes = CASES[name]
        write(folder / name, fields, shapes)


def _architectures(folder: Path) -> None:
    _prepare(_damaged(folder))


def _damaged(folder: Path) -> Path:
    """The one of several checkpoints that was written to: the others would tell nothing."""
    return max(folder.glob("*/*"), key=lambda path: path.stat().st_mtime_ns).parent


def _make_packed(folder: Path) -> None:
    from tests.packed.checkpoints import around, checkpoint
    from tests.packed.test_structure import FORMATS

    for number, make in enumerate(FORMATS.values()):
        parts, config = make()
        checkpoint(folder / str(number), around(parts), quantization_config=config)


def _packed(folder: Path) -> None:
    from qpipe.packed import structure

    damaged = _damaged(folder)
    found = structure.read(damaged)
    json.dumps(found.facts)
    _inspect(damaged)


# -- records --------------------------------------------------------------------------------------


def _make_run(folder: Path) -> None:
    from tests.commands.stores import finished_run

    finished_run(folder, "r")


def _make_gate(folder: Path) -> None:
    """A run whose tasks are in its report alone; of likelihoods and divergences the files too."""
    from dataclasses import replace

    from qpipe.results.record import rows
    from tests.gate.kept import Kept, compared

    kept, right = Kept(folder / "store"), [1, 1, 0, 0, 1] * 4
    made = [kept.tasks(name, {"acc[t]": right[n:] + right[:n]}) for n, name in enumerate("ab")]
    nll = [2.0, 2.5, 1.5, 2.2, 2.1]
    run = compared(
        [kept.ppl("a", nll), made[0]],
        {"Q4_0": [kept.ppl("b", [x + 0.01 * n for n, x in enumerate(nll)]), made[1],
                  kept.kld("b", [0.01, 0.02, 0.015, 0.01])]},
    )  # fmt: skip
    for number, row in enumerate(run.rows):
        for each in row.measurements:
            for name in ("windows.json", "sums.npy", "manifest.json"):
                file = Path(each.artifact or "") / name
                if file.is_file() and each.metric != "tasks":
                    link = folder / f"{each.metric}{number}-{name}"
                    link.hardlink_to(file)
    lost = [
        replace(row, measurements=tuple(
            replace(each, artifact=None) if each.metric == "tasks" else each
            for each in row.measurements
        ))
        for row in run.rows
    ]  # fmt: skip
    document = {
        "run": "r",
        "status": "done",
        "nodes": [],
        "rows": rows(replace(run, rows=tuple(lost))),
    }
    (folder / "run.json").write_text(json.dumps(document | {"schema": 1}))


def _gate(folder: Path) -> None:
    bounds = ("--max-drop", "5pp", "--max-kld", "0.02", "--max-ppl", "1%")
    command("check", str(folder / "run.json"), *bounds, as_json=True)
    command("check", str(folder / "run.json"), *bounds)


def _report(folder: Path) -> None:
    from qpipe.report import render

    for form in (None, *render.FORMS):
        wanted = [] if form is None else ["--format", form]
        command("report", "r", "--runs", str(folder / "runs"), *wanted)
    runs, store = str(folder / "runs"), str(folder / "store")
    command("pins", "r", "--runs", runs, "--store", store, verb="pin", as_json=True)


def _make_store(folder: Path) -> None:
    from tests.commands.stores import make

    key = make(folder / "store", "a", facts={"ppl": 8.5, "format": "Q4_0", "bits_per_weight": 4.5})
    artifact = folder / "store" / "artifacts" / key[:2] / key
    for path in (artifact, artifact / "manifest.json"):
        path.chmod(0o755)
    (folder / "manifest.json").symlink_to(artifact / "manifest.json")


def _ls(folder: Path) -> None:
    store = str(folder / "store")
    for as_json in (False, True):
        command("ls", "--store", store, as_json=as_json)
        (artifact,) = (folder / "store" / "artifacts").glob("*/*")
        command("show", artifact.name, "--store", store, as_json=as_json)


def _make_texts(folder: Path) -> None:
    import gzip

    records = [{"text": "one"}, {"messages": [{"role": "user", "content": "two"}]}]
    lines = "\n".join(map(json.dumps, records)).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "b.json").write_text(json.dumps(records))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "d.txt").write_text("Once upon a time. é")


def _texts(folder: Path) -> None:
    from qpipe.calibration.text import documents

    for path in sorted(folder.iterdir()):
        for document in documents.read(path, field=None):
            document.plain.encode()


def _make_lock(folder: Path) -> None:
    (folder / "r.yaml").write_text("model: {}\n")
    record = {"qpipe": 1, "sources": {"model:a/b@main": "0" * 40}}
    (folder / "r.lock.json").write_text(json.dumps(record))


def _lock(folder: Path) -> None:
    from qpipe.recipe import lock_file

    lock_file.read(str(folder / "r.yaml"))


def _plans(folder: Path) -> Any:
    from qpipe.recipe.request import Request

    return folder / "plans", Request(str(folder / "r.yaml"), (), multirun=False, flags=())


def _make_plan(folder: Path) -> None:
    from qpipe.recipe import draft_cache
    from qpipe.recipe.witnesses import Witnesses, file_digest

    (folder / "r.yaml").write_text("model: {}\n")
    there, request = _plans(folder)
    files = {str(folder / "r.yaml"): file_digest(str(folder / "r.yaml"))}
    witnesses = Witnesses(
        files=files,
        folders={str(folder): True},
        listings={str(folder / "none"): None},
        environment={"QPIPE_NOTHING": None},
    )
    assert draft_cache.remember(there, request, witnesses, {"x": 1}, cwd=folder)
    (made,) = there.iterdir()
    (folder / "plan.json").symlink_to(made)


def _plan(folder: Path) -> None:
    from qpipe.recipe import draft_cache

    there, request = _plans(folder)
    if draft_cache.recall(there, request, cwd=folder) is None:
        raise RecipeError("composed anew")


def _make_tasks(folder: Path) -> None:
    (folder / "t.yaml").write_text(
        "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\n"
        "output_type: multiple_choice\ninclude: base.yaml\nmetric_list:\n- metric: acc\n"
        "  aggregation: mean\n"
    )
    (folder / "base.yaml").write_text("x: &a [1, 2]\ny: *a\ntest_split: test\n")
    (folder / "d.jsonl").write_text('{"q": "a", "choices": ["b"], "answer": 0}\n')


def _tasks(folder: Path) -> None:
    from qpipe.evaluators.harness import task_folder

    found = task_folder.check(folder, trusted=None, metrics={"acc"})
    for config in found.configs.values():
        task_folder.data_sets(task_folder.with_data_of(config, folder, folder))


def _signed(data: bytes, random: Random) -> bytes:
    """A manifest with another value somewhere, whose digests are right again."""
    changed = changes.json_value(data, random)
    try:
        record = json.loads(changed)
    except (ValueError, RecursionError):
        return changed
    if not isinstance(record, dict):
        return changed
    files: Any = record.get("files")
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        record["digest"] = key.content_digest((f["path"], f["size"], f["sha256"]) for f in files)
    record["sha256"] = "0" * 64
    text = json.dumps(record).encode()
    return text.replace(b"0" * 64, key.bytes_sha256(text).encode())


def by_field(build: Callable[[], Gguf]) -> Change:
    """A GGUF file with a field changed, built anew."""
    return lambda data, random: changes.gguf_field(build(), random)


_ARCHITECTURES = (
    *("llama", "qwen2", "qwen3", "mistral", "mixtral", "phi", "gemma2", "gemma3"),
    *("qwen2_moe", "qwen3_moe"),
)
_FREE = (changes.any_bytes,)
_JSON = (changes.json_value, changes.json_value, changes.json_value, changes.any_bytes)
_JSON_LINES = (changes.json_line, changes.any_bytes)
_YAML = (changes.yaml_value, changes.yaml_value, changes.any_bytes)
_TENSORS = (changes.safetensors_header, changes.head_of(2000))

TARGETS: Mapping[str, Target] = {
    "inspect-gguf": Target(
        _make_gguf,
        {"x.gguf": (by_field(gguf), by_field(gguf), changes.any_bytes, changes.head_of(600))},
        lambda folder: _inspect(folder / "x.gguf"),
    ),
    "quantize": Target(
        _make_plain,
        {"x.gguf": (by_field(_plain), by_field(_plain), changes.head_of(700))},
        _quantize,
    ),
    "imatrix": Target(
        _make_imatrix,
        {
            "m.gguf": (by_field(_imatrix), changes.any_bytes, changes.head_of(300)),
            "m.dat": (changes.any_bytes, changes.edge, changes.head_of(40)),
        },
        _read_imatrix,
    ),
    "inspect-folder": Target(
        _make_checkpoint,
        {
            "config.json": _JSON,
            "tokenizer.json": _JSON,
            "model.safetensors": _TENSORS,
        },
        _inspect,
    ),
    "convert": Target(
        _make_checkpoint,
        {
            "config.json": _JSON,
            "tokenizer_config.json": _JSON,
            "tokenizer.json": _JSON,
            "generation_config.json": _JSON,
            "tokenizer.model": (changes.any_bytes, changes.head_of(200)),
            "README.md": _YAML,
            "chat_template.jinja": _FREE,
            "model.safetensors": _TENSORS,
        },
        _prepare,
    ),
    "architectures": Target(
        _make_architectures,
        {f"{name}/config.json": _JSON for name in _ARCHITECTURES}
        | {f"{name}/tokenizer.json": _JSON for name in ("phi", "qwen3_moe")},
        _architectures,
    ),
    "index": Target(
        _make_parts, {"model.safetensors.index.json": _JSON}, _inspect
    ),
    "packed": Target(
        _make_packed,
        {
            f"{number}/{name}": how
            for number in range(30)
            for name, how in (("config.json", _JSON), ("model.safetensors", _TENSORS))
        },
        _packed,
    ),
    "report": Target(_make_run, {"runs/r/run.json": _JSON}, _report),
    "gate": Target(
        _make_gate,
        {"run.json": _JSON, "perplexity1-windows.json": _JSON, "kld1-sums.npy": _FREE,
         "kld1-manifest.json": _JSON},
        _gate,
    ),
    "store": Target(_make_store, {"manifest.json": (*_JSON, _signed, _signed, _signed)}, _ls),
    "texts": Target(
        _make_texts,
        {"a.jsonl": _JSON_LINES, "b.json": _JSON, "c.jsonl.gz": _FREE, "d.txt": _FREE},
        _texts,
    ),
    "lock": Target(_make_lock, {"r.lock.json": _JSON}, _lock),
    "plan": Target(_make_plan, {"plan.json": _JSON}, _plan),
    "tasks": Target(
        _make_tasks, {"t.yaml": _YAML, "base.yaml": _YAML, "d.jsonl": _FREE}, _tasks
    ),
}  # fmt: skip
