"""Files by which something is trusted: reference files, provenance, sums and Modelfiles.

Digests in them would stop most damage at the first look, so that it is put right again behind the
damage, as somebody would who means harm.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from qpipe.core import key
from qpipe.errors import UsageError
from tests.fuzz import changes, targets
from tests.fuzz.targets import Target, gguf

_REFERENCE = "r.reference.safetensors"
_NUMBERS = (
    *(("protocol", "windows"), ("protocol", "width"), ("protocol", "scored")),
    *(("stored", "n_vocab"), ("stored", "top_k"), ("text", "bytes"), ("text", "documents")),
)
_NAMES = (("model", "name"), ("model", "licence"), ("text", "name"), ("measured", "by"))
_TEXT = "One day, a little girl named Lily found a needle in her room. \u00e9\u65e5"


# -- reference files ------------------------------------------------------------------------------


def _make_references(folder: Path) -> None:
    for name, top_k in (("all", None), ("top", 2)):
        (folder / name).mkdir()
        _make_reference(folder / name, top_k)


def _make_reference(folder: Path, top_k: int | None) -> None:
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

    tokens = np.arange(3 * 8, dtype=np.int32).reshape(3, 8)
    windows = Windows(tokens, np.tile(np.array([4, 7], np.int32), (3, 1)), 3, 24)
    label = "llamacpp-512 n_ctx=8 chunks=3"
    about = About("t", label, 1, "token", None, 8, 3, 24, windows.sha256)
    write_result(folder, {"n_vocab": 24, "top_k": top_k})
    stored = Reference(folder, Tokenized(windows, about))
    rows = np.zeros(windows.scored, stored.form.row_type)
    (folder / DISTRIBUTIONS).write_bytes(rows.tobytes())
    np.save(folder / NLL, np.ones(windows.scored))
    said = FileAbout(
        model=ModelPart(name="m", source=f"hf:a/b@{'c' * 40}", licence="mit"),
        text=text_part("t", [_TEXT], carried=True),
        protocol=protocol_part(stored.tokenized),
        stored=StoredPart(n_vocab=24, top_k=top_k),
        measured=MeasuredPart(
            backend="x", arithmetic={"device": "cpu"}, machine={"processor": "y"}, notes=["n"]
        ),
    )
    write(folder / _REFERENCE, said, stored, [_TEXT])
    for name in (DISTRIBUTIONS, NLL, RESULT):
        (folder / name).unlink()


def _references(folder: Path) -> None:
    for name in ("all", "top"):
        _reference(folder / name / _REFERENCE)


def _reference(path: Path) -> None:
    from qpipe.commands import reference_text
    from qpipe.evaluators.reference_file import _facts, _words
    from qpipe.evaluators.reference_files import header, matching, reading, values
    from qpipe.report import text
    from qpipe.stages.base import Order

    file = header.read(path)
    text.printable(text.pairs(reference_text._pairs(file.about)))
    matching.require(path.name, file.about, matching.Wanted())
    reading.check(file)
    values.check(file)
    reading.tokenized(file, chunks=1)
    json.dumps(_facts(file, Order({})), allow_nan=False), _words(file)
    for field in reading.columns(file, path.name).values():
        np.memmap(path, field.dtype, "r", field.offset, tuple(field.shape))[-1:].sum()


def _sealed(data: bytes, random: Random) -> bytes:
    """Another value in what a reference file says of itself, or other bytes of its tensors, and
    digests of these."""
    (length,) = struct.unpack_from("<Q", data)
    fields = json.loads(data[8 : 8 + length])
    metadata, body = fields["__metadata__"], data[8 + length :]
    kind = random.randrange(5)
    if kind == 0:
        body = changes.any_bytes(body, random)
        blocks = json.loads(metadata["blocks"])
        for name, digests in blocks["sha256"].items():
            first, end = fields[name]["data_offsets"]
            digests[:] = [hashlib.sha256(body[first:end]).hexdigest()]
        metadata["blocks"] = json.dumps(blocks)
    elif kind == 1:
        metadata["blocks"] = changes.json_value(metadata["blocks"].encode(), random).decode(
            "utf-8", "replace"
        )
    elif kind == 2:
        _tensors_of_another(fields, metadata, random)
    elif kind == 3:
        said = json.loads(metadata["about"])
        part, name = random.choice(_NAMES)
        said[part][name] = random.choice([v for v in changes.JSON_VALUES if isinstance(v, str)])
        metadata["about"] = json.dumps(said)
    else:
        metadata["about"] = changes.json_value(metadata["about"].encode(), random).decode(
            "utf-8", "replace"
        )
    metadata["sha256"] = "0" * 64
    text = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    head = struct.pack("<Q", len(text)) + text
    own = hashlib.sha256(head).hexdigest()
    return head.replace(b'"sha256": "' + b"0" * 64, b'"sha256": "' + own.encode(), 1) + body


def _tensors_of_another(fields: Any, metadata: Any, random: Random) -> None:
    """Numbers from which the tensors follow, and the tensors that do: the header agrees with
    itself, and the file with neither."""
    from pydantic import ValidationError

    from qpipe.evaluators.reference_files.about import FileAbout
    from qpipe.evaluators.reference_files.layout import spans

    said = json.loads(metadata["about"])
    part, name = random.choice(_NUMBERS)
    said[part][name] = random.choice([0, 1, 2, 3, 7, 9, 1 << 16, 1 << 24, 1 << 31, 1 << 40, None])
    try:
        tensors = spans(FileAbout.model_validate(said))
    except ValidationError:
        return
    metadata["about"] = json.dumps(said)
    for tensor in [*fields]:
        if tensor != "__metadata__":
            del fields[tensor]
    fields |= {tensor: span.record() for tensor, span in tensors.items()}


# -- an export's provenance and sums --------------------------------------------------------------


def _make_export(folder: Path) -> None:
    from qpipe.export import provenance, sums

    (folder / "m.gguf").write_bytes(gguf().dump())
    (folder / "made" / "r").mkdir(parents=True)
    (folder / "made" / "r" / "result.json").write_text("{}")
    files = [_file(folder, "m.gguf")]
    result = [_file(folder, "made/r/result.json")]
    source = _artifact("download", {"kind": "model", "repo": "a/b", "commit": "c" * 40}, files)
    model = _artifact("convert", {"to": "gguf"}, files, checkpoint=source)
    measured = _artifact("evaluate", {"metric": "perplexity"}, result, model=model)
    artifacts = {each["key"]: each for each in (source, model, measured)}
    row = {"row": "F16", "files": ["m.gguf"], "key": model["key"], "source": source["key"]}
    commit = {"sha256": source["digest"], "gitCommit": "c" * 40}
    figure = {"key": measured["key"], "model": model["key"]}
    document = {
        "_type": provenance.STATEMENT,
        "predicateType": provenance.PREDICATE,
        "subject": [
            {
                "name": each["path"],
                "digest": {"sha256": each["sha256"]},
                "annotations": {"size": each["size"]},
            }
            for each in (*files, *result)
        ],
        "predicate": {
            "buildDefinition": {
                "externalParameters": {
                    "models": [row | {"gguf": provenance.in_file(folder / "m.gguf")}]
                },
                "resolvedDependencies": [
                    {"name": "a/b", "digest": commit, "annotations": {"key": source["key"]}}
                ],
            },
            "runDetails": {"byproducts": [{"name": "ppl", "annotations": figure}]},
            "artifacts": artifacts,
        },
    }
    (folder / provenance.NAME).write_text(json.dumps(document))
    (folder / sums.NAME).write_bytes(_sums(folder))


def _file(folder: Path, name: str) -> dict[str, Any]:
    data = (folder / name).read_bytes()
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _artifact(
    stage: str, params: dict[str, Any], files: list[dict[str, Any]], **inputs: Mapping[str, Any]
) -> dict[str, Any]:
    of = {role: each["digest"] for role, each in inputs.items()}
    whole = {"but": [], "nameless": False}
    return {
        "key": key.artifact_key(stage=stage, version=1, params=params, engine={}, inputs=of),
        "digest": key.content_digest((f["path"], f["size"], f["sha256"]) for f in files),
        "id": "i",
        "stage": stage,
        "version": 1,
        "params": params,
        "engine": {},
        "files": files,
        "inputs": {
            role: {"key": each["key"], "digest": each["digest"], "counted": whole}
            for role, each in inputs.items()
        },
    }


def _sums(folder: Path) -> bytes:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    return "".join(lines).encode()


def _verify(folder: Path) -> None:
    """What it says is a refusal, where it is anything. Sums that are as they were made are made
    anew, so that damage behind them is looked at."""
    from qpipe.commands import verify_text
    from qpipe.export import verifying
    from qpipe.report import text

    sums = folder / "SHA256SUMS"
    stated = sums.read_bytes()
    if stated.count(b"\n") == 3 and b"provenance.json" in stated and b"\\" not in stated:
        sums.write_bytes(_sums(folder))
    result = verifying.verify(folder)
    sums.write_bytes(stated)
    said = text.printable(verify_text.spoken(result), lines=True)
    json.dumps(verify_text.record(result), allow_nan=False)
    assert "\x1b" not in said
    said.encode()
    if not result.whole:
        raise UsageError(result.problems[0])


def _line(data: bytes, random: Random) -> bytes:
    """A line of sums with other words, or with marks that names are written with."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    odd = (b"", b"\\", b"../", b"/", b"\\n", b"\xff", b"  ", b"\r", b"#", b"\0", lines[at])
    words = random.choice(odd)
    place = random.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + words + lines[at][place:]
    return b"\n".join(lines)


# -- Modelfiles -----------------------------------------------------------------------------------


def _make_modelfile(folder: Path) -> None:
    (folder / "Modelfile").write_text(
        '# from a/b\nFROM ./m.gguf\nTEMPLATE """{{ .System }}\n{{ .Prompt }}"""\n'
        'PARAMETER stop "<|end|>"\nPARAMETER num_ctx 4096\nSYSTEM "be\nkind"\nLICENSE """MIT"""\n'
    )


def _modelfile(folder: Path) -> None:
    from qpipe.export.ollama.modelfile import Modelfile, parse

    written = Modelfile(["from a/b"])
    for command, value in parse((folder / "Modelfile").read_bytes().decode("utf-8", "replace")):
        written.add(command, value)
    if any(command == "from" for command, _ in written.commands):
        assert parse(str(written)) == written.commands


TRUSTED: Mapping[str, Target] = {
    "references": Target(
        _make_references,
        {
            f"{name}/{_REFERENCE}": (_sealed, _sealed, _sealed, *targets._TENSORS)
            for name in ("all", "top")
        },
        _references,
    ),
    "provenance": Target(
        _make_export,
        {"provenance.json": targets._JSON, "SHA256SUMS": (_line, changes.any_bytes)},
        _verify,
    ),
    "modelfile": Target(_make_modelfile, {"Modelfile": (changes.any_bytes, _line)}, _modelfile),
}
