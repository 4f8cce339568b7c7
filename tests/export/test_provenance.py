"""provenance.json and `qpipe verify FOLDER`: what an export says of itself, and that every change
is found."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.digests import Digests
from qpipe.core.key import artifact_key, content_digest
from qpipe.export import sums, verifying
from qpipe.session.export import ExportOptions, export
from tests.cli import called
from tests.hashed import counted
from tests.results.validating import faults

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "qpipe" / "export" / "provenance.schema.json").read_text()
)


def exported(run: Path, out: Path, to: str = "folder", **options: Any) -> Path:
    export(
        ["latest"], to, out,
        store=run / "store", runs=run / "runs", options=ExportOptions(**options),
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(run, tmp_path_factory.mktemp("whole") / "out")


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of the export, where each file may be written to."""
    shutil.copytree(whole, tmp_path / "copy")
    for file in (tmp_path / "copy").iterdir():
        file.chmod(0o644)
    return tmp_path / "copy"


def statement(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return read


def test_the_statement_is_as_its_schema_says(whole: Path, run: Path) -> None:
    document = statement(whole)
    assert faults(document, SCHEMA, SCHEMA) == []
    assert set(document) == {"_type", "subject", "predicateType", "predicate"}
    names = {file.name for file in whole.iterdir()} - {"provenance.json", "SHA256SUMS"}
    assert {each["name"] for each in document["subject"]} == names
    text = (whole / "provenance.json").read_text()
    for secret in (str(run), str(Path.cwd()), str(Path.home()) + "/"):
        assert secret not in text
    (measured, _) = document["predicate"]["runDetails"]["byproducts"]
    assert measured["annotations"]["protocol"] == "llamacpp-512 chunks=1"
    assert measured["annotations"]["scores"]["ppl"] > 1


def test_sums_are_read_by_sha256sum(whole: Path) -> None:
    said = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=whole, check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert said.stdout.count(": OK\n") == len(list(whole.iterdir())) - 1


def test_odd_names_in_sums(tmp_path: Path) -> None:
    """Names are read back as sha256sum writes them, and lines end with a line feed alone."""
    names = ["back\\slash", "back\\name", "line\nfeed", "line\u2028mark\x0bor\x85"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    written = sums.write(folder, Digests(tmp_path / "hashes"))
    assert sums.read(folder) == written and set(written) == set(names)
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True,
                   capture_output=True)  # fmt: skip


def test_the_same_export_has_the_same_bytes(whole: Path, run: Path, tmp_path: Path) -> None:
    again = exported(run, tmp_path / "again")
    for file in whole.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_models_are_linked_and_not_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(run, tmp_path / "first")
    read = counted(monkeypatch)
    out = exported(run, tmp_path / "out")
    assert not [name for name in read if name.endswith((".gguf", ".safetensors"))]
    assert sum(read.values()) < 100_000
    for file in out.glob("*.gguf"):
        assert file.stat().st_nlink >= 3 and not file.is_symlink()
        assert file.stat().st_mode & 0o222 == 0


def test_keys_follow_from_what_stands_beside_them(whole: Path) -> None:
    """By hand, as docs/provenance.md has it."""
    document = statement(whole)["predicate"]
    artifacts = document["artifacts"]
    for key, each in artifacts.items():
        digests = {role: entry["digest"] for role, entry in each["inputs"].items()}
        fields = {name: each[name] for name in ("stage", "version", "params", "engine")}
        assert artifact_key(**fields, inputs=digests) == key
    for model in document["buildDefinition"]["externalParameters"]["models"]:
        assert model["gguf"]["key"] == model["key"]
        (source,) = {model["source"]}
        files = [(f["path"], f["size"], f["sha256"]) for f in artifacts[source]["files"]]
        assert artifacts[source]["params"]["tree"] == content_digest(files)


def test_whole(whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QPIPE_STORE", str(tmp_path / "none"))  # as on another machine
    said = called("verify", str(whole), cwd=tmp_path)
    assert said.code == 0
    assert "models that carry their key in the file: 2 of 2" in said.stdout
    assert "there is no signature" in said.stdout
    assert not (tmp_path / "none").exists()


def _flip(folder: Path) -> None:
    file = next(folder.glob("*Q4_0.gguf"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _linked(folder: Path) -> None:
    (folder / "LICENSE.md").unlink()
    (folder / "LICENSE.md").symlink_to("/etc/hostname")


def _edited(
    change: Callable[[dict[str, Any]], object], *, sums: bool = True
) -> Callable[..., None]:
    """Change provenance.json, and SHA256SUMS with it."""

    def edit(folder: Path) -> None:
        document = statement(folder)
        change(document)
        (folder / "provenance.json").write_text(json.dumps(document))
        if sums:
            files = sorted(f.name for f in folder.iterdir() if f.name != "SHA256SUMS")
            text = subprocess.run(["sha256sum", *files], cwd=folder, check=True,
                                  capture_output=True)  # fmt: skip
            (folder / "SHA256SUMS").write_bytes(text.stdout)

    return edit


def _artifact(document: dict[str, Any], stage: str) -> dict[str, Any]:
    every = document["predicate"]["artifacts"].values()
    return next(each for each in every if each["stage"] == stage)


def _models(document: dict[str, Any]) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = document["predicate"]["buildDefinition"]["externalParameters"][
        "models"
    ]
    return models


def _sources(document: dict[str, Any]) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    return sources


def _figures(document: dict[str, Any]) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = document["predicate"]["runDetails"]["byproducts"]
    return figures


def _round(document: dict[str, Any]) -> None:
    """Make a model's input the model itself."""
    key = _models(document)[0]["key"]
    document["predicate"]["artifacts"][key]["inputs"]["model"]["key"] = key


def _retold(folder: Path, document: dict[str, Any]) -> None:
    """Tell the subjects the digests that the files have now."""
    for each in document["subject"]:
        each["digest"]["sha256"] = hashlib.sha256((folder / each["name"]).read_bytes()).hexdigest()


def _other_bytes(folder: Path) -> None:
    """Change a model, and take all that is said of models out of the statement."""

    def change(document: dict[str, Any]) -> None:
        _models(document).clear()
        _retold(folder, document)

    _flip(folder)
    _edited(change)(folder)


def _second(name: str) -> Callable[[Path], None]:
    """Give a model a file that nobody made, told in the statement as if it were its own."""

    def added(folder: Path) -> None:
        def change(document: dict[str, Any]) -> None:
            given = {"name": name, "digest": {"sha256": ""}, "annotations": {"size": 1}}
            document["subject"].append(given)
            model = _models(document)[0]
            model["files"] = [*model["files"], name]
            _retold(folder, document)

        (folder / name).write_bytes(b"x")
        _edited(change)(folder)

    return added


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (_flip, "Q4_0.gguf': its bytes are others"),
    "a longer file": (
        lambda f: next(f.glob("*Q8_0.gguf")).write_bytes(b"x"), "has 1 bytes, not",
    ),
    "a missing file": (lambda f: (f / "LICENSE.md").unlink(), "'LICENSE.md': is missing"),
    "an added file": (
        lambda f: (f / "extra.txt").write_text("x"), "'extra.txt': is not part of the export",
    ),
    "a renamed file": (
        lambda f: (f / "LICENSE.md").rename(f / "b.md"), "it has the bytes of 'LICENSE.md'",
    ),
    "a link": (
        _linked,
        "'LICENSE.md': is a link, or no file",
    ),
    "no provenance": (lambda f: (f / "provenance.json").unlink(), "is not there, so there is"),
    "no sums": (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS: is missing"),
    "a sum": (
        lambda f: (f / "SHA256SUMS").write_text((f / "SHA256SUMS").read_text().replace("a", "b")),
        "its bytes are not those of SHA256SUMS",
    ),
    "no line of sums": (
        lambda f: (f / "SHA256SUMS").write_text("x\n"), "line 1 is no digest with a name",
    ),
    "an edited statement": (
        _edited(lambda d: d["predicate"].update(x=1), sums=False),
        "'provenance.json': its bytes are not those of SHA256SUMS",
    ),
    "a setting": (
        _edited(lambda d: _artifact(d, "quantize")["params"].update(via="source")),
        "its settings, engine and inputs give the key",
    ),
    "an engine": (
        _edited(lambda d: _artifact(d, "quantize")["engine"].update(numba="0.1")),
        "its settings, engine and inputs give the key",
    ),
    "a file of the source": (
        _edited(lambda d: _artifact(d, "download")["files"][0].update(sha256="0" * 64)),
        "its source has the digest",
    ),
    "how inputs count": (
        _edited(lambda d: _artifact(d, "quantize")["inputs"]["model"].update(
            counted={"but": ["*.safetensors"], "nameless": False})),
        "its input model has the digest",
    ),
    "another key": (
        _edited(lambda d: _models(d)[0].update(key=_models(d)[1]["key"])), "is not among the files",
    ),
    "a key that is none": (
        _edited(lambda d: _models(d)[0].update(key="ab" * 32)), "is none of the artifacts",
    ),
    "a count of tensors": (
        _edited(lambda d: _models(d)[0]["gguf"].update(tensors=3)), "its tensors is",
    ),
    "a model that names no file": (
        _edited(lambda d: _models(d)[0].update(files=[])), "names no file of it",
    ),
    "a model that names other files": (
        _edited(lambda d: _models(d)[0].update(files=["x.gguf"])),
        "its file 'x.gguf' is not part of the export",
    ),
    "a second file of a model": (_second("x.gguf"), "'x.gguf': is not among the files that"),
    "weights of another kind": (
        _second("x.safetensors"), "'x.safetensors': is not among the files that",
    ),
    "bytes of no model": (_other_bytes, "Q4_0.gguf': is of no model and no artifact"),
    "a source's commit": (
        _edited(lambda d: d["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]
                .update(gitCommit="0" * 40)),
        "is not what its artifact says",
    ),
    "a source that is no longer named": (
        _edited(lambda d: _sources(d).pop(0)), "resolvedDependencies does not name it",
    ),
    "a source that is named twice": (
        _edited(lambda d: _sources(d).append(_sources(d)[0])), "names it 2 times",
    ),
    "a source without its artifact": (
        _edited(lambda d: d["predicate"]["artifacts"].pop(_models(d)[0]["source"])),
        "was counted, and is none of the artifacts any more",
    ),
    "a model without its source": (
        _edited(lambda d: _models(d)[0].update(source=None)), "and it names none",
    ),
    "a circle": (_edited(_round), "its source is none"),
    "a figure without its measurement": (
        _edited(lambda d: d["predicate"]["artifacts"].pop(_figures(d)[0]["annotations"]["key"])),
        "Q8_0: perplexity': its measurement",
    ),
    "a figure of no measurement": (
        _edited(lambda d: _figures(d)[0]["annotations"].update(key=None)),
        "its measurement none is none of the artifacts",
    ),
    "a figure of no model": (
        _edited(lambda d: _figures(d)[0]["annotations"].update(model="ab" * 32)), "its model 'abab",
    ),
    "a measurement without its figure": (
        _edited(lambda d: _figures(d).pop(0)), "is among the artifacts, and no figure is of it",
    ),
    "a measured model": (
        _edited(lambda d: d["predicate"]["runDetails"]["byproducts"][0]["annotations"].update(
            model=_models(d)[1]["key"])),
        "was measured of another model",
    ),
    "a name that leads out": (
        _edited(lambda d: d["subject"][0].update(name="../LICENSE.md")), "no place inside a folder",
    ),
    "an absolute name": (
        _edited(lambda d: d["subject"][0].update(name="/etc/passwd")), "no place inside a folder",
    ),
    "another form": (
        _edited(lambda d: d.update(predicateType="https://slsa.dev/provenance/v1")),
        "predicateType is not urn:qpipe:provenance:v1",
    ),
    "a field that is missing": (
        _edited(lambda d: d["predicate"].pop("artifacts")), "a field is missing",
    ),
    "a field of another type": (
        _edited(lambda d: _artifact(d, "download").update(files=7)), "of another type",
    ),
    "no JSON": (lambda f: (f / "provenance.json").write_text("{"), "provenance.json"),
}  # fmt: skip


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_every_change_is_found(copied: Path, change: str) -> None:
    apply, words = CHANGES[change]
    assert verifying.verify(copied).problems == []
    apply(copied)
    problems = verifying.verify(copied).problems
    assert any(words in problem for problem in problems), problems


def test_figures_without_their_measurement_are_left_out_and_told(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    folder = tmp_path / "run"
    document = statement(exported(run, tmp_path / "before"))
    key = _figures(document)[0]["annotations"]["key"]
    gone = folder / "store" / "artifacts" / key[:2] / key
    gone.chmod(0o755)
    shutil.rmtree(gone)
    result = export(["latest"], "folder", tmp_path / "out", store=folder / "store",
                    runs=folder / "runs")  # fmt: skip
    assert [note for note in result.notes if "Q8_0 perplexity: the store has" in note]
    assert verifying.verify(tmp_path / "out").problems == []
    assert len(_figures(statement(tmp_path / "out"))) == 1


def test_words_of_a_folder_are_one_line_each(copied: Path, tmp_path: Path) -> None:
    """Nothing in provenance.json looks like an answer of its own."""
    _edited(lambda d: _models(d)[0].update(row="x\nout: whole\x1b[2K", key="ab" * 32))(copied)
    said = called("verify", str(copied), cwd=tmp_path)
    assert said.code == 1
    assert "\x1b" not in said.stdout and "\nout: whole" not in said.stdout


def test_progress_is_that_of_all_bytes(whole: Path) -> None:
    told: list[tuple[int, int]] = []
    verifying.verify(whole, threads=2, progress=lambda *counts: told.append(counts))
    size = sum(file.stat().st_size for file in whole.iterdir())
    assert told[-1] == (size, size) and [done for done, _ in told] == sorted(d for d, _ in told)


def test_exit_code_and_json(copied: Path, tmp_path: Path) -> None:
    from tests.commands.test_answers import wrong

    document = json.loads(called("verify", str(copied), "--json", cwd=tmp_path).stdout)
    assert document["whole"] and wrong(document, "verify-folder") == []
    _flip(copied)
    said = called("verify", str(copied), "--json", cwd=tmp_path)
    assert said.code == 1
    document = json.loads(said.stdout)
    assert not document["whole"] and wrong(document, "verify-folder") == []
    said = called("verify", str(copied), cwd=tmp_path)
    assert said.code == 1 and "its bytes are others" in said.stdout


@pytest.mark.parametrize("to", ["card", "hf"])
def test_other_targets(run: Path, tmp_path: Path, to: str) -> None:
    out = exported(run, tmp_path / "out", to)
    assert faults(statement(out), SCHEMA, SCHEMA) == []
    assert verifying.verify(out).problems == []
    (text,) = out.glob("*.md") if to == "card" else [out / "README.md"]
    text.write_text("edited")
    assert verifying.verify(out).problems[0].startswith(f"'{text.name}': has 6 bytes, not")
