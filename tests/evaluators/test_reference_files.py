"""Reference files: what is written comes back to the bit, what was changed is found, and a header
that lies costs nothing."""

from __future__ import annotations

import json
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qpipe.errors import DataError, QpipeError
from qpipe.evaluators.kld import KldParams, measure, scores_of
from qpipe.evaluators.reference_file import (
    ImportedLogprobs,
    ImportedLogprobsParams,
    ReferenceFile,
    ReferenceFileParams,
)
from qpipe.evaluators.reference_files import header, layout, reading
from qpipe.evaluators.reference_files.about import (
    FileAbout,
    MeasuredPart,
    ModelPart,
    StoredPart,
)
from qpipe.evaluators.reference_files.parts import protocol_part, text_part
from qpipe.evaluators.reference_files.writing import write
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.windows import load
from qpipe.evaluators.tokens_imported import ImportedTokens, ImportedTokensParams
from qpipe.gguf import weight_files
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.stages.base import REFERENCE_SUFFIX, Work
from tests.evaluators import measuring

Gguf = Callable[[str, str], Path]
CHUNKS = 12
FILE = f"r{REFERENCE_SUFFIX}"


def about(stored: Reference, documents: list[str]) -> FileAbout:
    return FileAbout(
        model=ModelPart(name="stories260K", format="F32"),
        text=text_part("stories.txt", documents, carried=True),
        protocol=protocol_part(stored.tokenized),
        stored=StoredPart(n_vocab=stored.about["n_vocab"], top_k=stored.about["top_k"]),
        measured=MeasuredPart(backend=stored.about["backend"], kld_noise=1e-7),
    )


def documents() -> list[str]:
    return [measuring.STORIES.read_text().removesuffix("\n")]


@pytest.fixture(scope="module")
def made(gguf_of: Gguf, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Any, Any]:
    """A reference by its top_k, and the file that was written of it."""
    folder, made = tmp_path_factory.mktemp("references"), {}
    for top_k in (None, 16):
        stored = measuring.stories(gguf_of, folder / str(top_k), chunks=CHUNKS, top_k=top_k)
        file = folder / f"{top_k}.reference.safetensors"
        write(file, about(stored, documents()), stored, documents())
        made[top_k] = stored, file
    return made


def work(out: Path, **inputs: Path) -> Work:
    out.mkdir()
    return Work(inputs=inputs, out=out, threads=2, progress=lambda *_: None, where={})


def imported(file: Path, folder: Path, *, chunks: int | None = None) -> Reference:
    """A file as a run takes it in, its first ``chunks`` windows."""
    (folder / "download").mkdir(parents=True)
    (folder / "download" / file.name).symlink_to(file)
    given = {"model": folder / "original", "file": folder / "download"}
    ReferenceFile().run(ReferenceFileParams(), work(folder / "original", model=folder / "download"))
    ImportedTokens().run(ImportedTokensParams(chunks=chunks), work(folder / "tokens", **given))
    ImportedLogprobs().run(
        ImportedLogprobsParams(),
        work(folder / "logprobs", model=folder / "original", tokens=folder / "tokens"),
    )
    return Reference(folder / "logprobs", load(folder / "tokens"))


@pytest.mark.parametrize("top_k", [None, 16])
def test_figures_against_a_file_are_those_against_the_original(
    top_k: int | None, made: Mapping[Any, Any], gguf_of: Gguf, tmp_path: Path
) -> None:
    stored, file = made[top_k]
    theirs = imported(file, tmp_path / "in")
    theirs.require_same(n_vocab=512, model="it")
    with LlamaCppBackend(gguf_of("stories260K", "Q4_0"), threads=2) as backend:
        ours, others = (measure(backend, each, KldParams()) for each in (stored, theirs))
    assert np.array_equal(np.concatenate(ours.values), np.concatenate(others.values))
    assert scores_of(ours.values, stored) == scores_of(others.values, theirs)
    assert theirs.about["ppl"] == pytest.approx(float(np.exp(stored.nll.mean())))
    assert theirs.about["kld_noise"] == 1e-7


def test_the_first_windows_alone(made: Mapping[Any, Any], gguf_of: Gguf, tmp_path: Path) -> None:
    few = measuring.stories(gguf_of, tmp_path / "few", chunks=5)
    theirs = imported(made[None][1], tmp_path / "in", chunks=5)
    assert theirs.tokenized.about.sha256 == few.tokenized.about.sha256
    assert theirs.tokenized.about.protocol == few.tokenized.about.protocol
    with LlamaCppBackend(gguf_of("stories260K", "Q4_0"), threads=2) as backend:
        ours, others = (measure(backend, each, KldParams()) for each in (few, theirs))
    assert np.array_equal(np.concatenate(ours.values), np.concatenate(others.values))


@pytest.mark.parametrize("top_k", [None, 16])
def test_the_size_is_foretold_and_any_reader_of_safetensors_reads_it(
    top_k: int | None, made: Mapping[Any, Any]
) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    stored, file = made[top_k]
    assert file.stat().st_size == header.file_size(about(stored, documents()))
    tensors = safetensors.load_file(file)
    rows, form = stored.all_rows, stored.form
    names = {"likeliest": "tokens"}
    for name in layout.DISTRIBUTIONS & set(tensors):
        assert np.array_equal(tensors[name], rows[names.get(name, name)]), name
    assert {names.get(n, n) for n in layout.DISTRIBUTIONS & set(tensors)} == {*form.row_type.names}
    assert np.array_equal(tensors["nll"], stored.nll)
    assert tensors["text"].tobytes().decode() == documents()[0]


@pytest.mark.parametrize("top_k", [None, 16])
def test_any_changed_byte_is_found(
    top_k: int | None, made: Mapping[Any, Any], tmp_path: Path
) -> None:
    data = bytearray(made[top_k][1].read_bytes())
    file, start = tmp_path / FILE, header.read(made[top_k][1]).start
    places = [
        *range(0, start, 97),
        start - 1,
        *range(start, len(data), len(data) // 40),
        len(data) - 1,
    ]
    for place in places:
        data[place] ^= 0x10
        file.write_bytes(data)
        data[place] ^= 0x10
        with pytest.raises(DataError):
            reading.check(header.read(file), threads=2)
    file.write_bytes(data)
    reading.check(header.read(file), threads=2)


@pytest.mark.parametrize("length", [0, 7, 8, 100, 5000, -1])
def test_a_file_that_was_cut_is_found_before_it_is_read(
    length: int, made: Mapping[Any, Any], tmp_path: Path
) -> None:
    file = tmp_path / FILE
    file.write_bytes(made[None][1].read_bytes()[:length])
    with pytest.raises(DataError, match=r"r\.reference\.safetensors"):
        header.read(file)


def test_a_file_with_more_behind_it(made: Mapping[Any, Any], tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(made[None][1].read_bytes() + b"more")
    with pytest.raises(DataError, match="has more behind its last tensor"):
        header.read(file)


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A file whose header says something else, with the right digest of itself."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    fields = json.loads(data[8 : 8 + length])
    metadata = fields["__metadata__"]
    parts = {"metadata": metadata, "fields": fields, "about": json.loads(metadata["about"])}
    change(parts)
    metadata |= {"about": json.dumps(parts["about"]), "sha256": "0" * 64}
    text = json.dumps(fields).encode()
    text += b" " * (-len(text) % 8)
    blank = struct.pack("<Q", len(text)) + text
    import hashlib

    digest = hashlib.sha256(blank).hexdigest()
    return (
        blank.replace(b'"sha256": "' + b"0" * 64, f'"sha256": "{digest}'.encode(), 1)
        + data[8 + length :]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["metadata"].update(format="qpipe.reference/2"), "use a newer qpipe"),
        (lambda p: p["metadata"].update(format="pt"), "no reference file"),
        (lambda p: p["metadata"].pop("blocks"), "has no blocks"),
        (lambda p: p["metadata"].update(blocks="{}"), "one for each"),
        (lambda p: p["about"]["protocol"].update(scored=10**11), "more tokens are scored"),
        (lambda p: p["about"]["protocol"].update(windows=1 << 39, scored=1 << 40), "tensor"),
        (lambda p: p["about"]["protocol"].update(scored=-1), r"about\.protocol\.scored"),
        (lambda p: p["about"]["stored"].update(n_vocab=1 << 23), "tensor 'codes'"),
        (lambda p: p["about"]["stored"].update(n_vocab=1 << 40), r"about\.stored\.n_vocab"),
        (lambda p: p["about"]["stored"].update(top_k=600), "of 512 tokens"),
        (lambda p: p["about"]["model"].update(name="x" * 9000), r"about\.model\.name"),
        (lambda p: p["fields"]["nll"].update(data_offsets=[8, 8]), "tensor 'nll'"),
        (lambda p: p["fields"].update(more={"dtype": "U8"}), "tensor 'more'"),
    ],
    ids=range(13),
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(
    change: Callable[[dict[str, Any]], None],
    words: str,
    made: Mapping[Any, Any],
    tmp_path: Path,
) -> None:
    file = tmp_path / FILE
    file.write_bytes(rewritten(made[None][1], change))
    with pytest.raises(DataError, match=words):
        header.read(file)


def test_windows_that_do_not_fit_are_refused_though_digests_are_right(
    made: Mapping[Any, Any], tmp_path: Path
) -> None:
    file = tmp_path / FILE
    file.write_bytes(
        rewritten(made[None][1], lambda p: p["about"]["protocol"].update(tokens_sha256="0" * 64))
    )
    reading.check(header.read(file))
    with pytest.raises(DataError, match="not those that its header tells of"):
        reading.tokenized(header.read(file))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=400), st.integers(0, 3000))
def test_bytes_of_anybody_give_clean_errors(
    made: Mapping[Any, Any], tmp_path: Path, noise: bytes, place: int
) -> None:
    data = made[16][1].read_bytes()
    file = tmp_path / FILE
    file.write_bytes(data[:place] + noise + data[place + len(noise) :])
    try:
        reading.check(header.read(file))
    except QpipeError as error:
        assert re.search(r"r\.reference\.safetensors", str(error))


def test_a_file_on_another_file_system_is_copied(made: Mapping[Any, Any], tmp_path: Path) -> None:
    """What was imported stays when a disk that was plugged in goes."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        file = Path(folder, FILE)
        shutil.copy(made[None][1], file)
        imported(file, tmp_path / "in")
    (kept,) = (tmp_path / "in" / "original").iterdir()
    assert not kept.is_symlink()
    assert kept.read_bytes() == made[None][1].read_bytes()


def test_another_vocabulary_is_refused(made: Mapping[Any, Any], tmp_path: Path) -> None:
    theirs = imported(made[None][1], tmp_path / "in")
    with pytest.raises(DataError, match="512 logits a token and this model has 600"):
        theirs.require_same(n_vocab=600, model="this model")


def test_ids_beyond_the_vocabulary_are_refused(
    made: Mapping[Any, Any], gguf_of: Gguf, tmp_path: Path
) -> None:
    stored, _ = made[16]
    bad = tmp_path / "bad"
    bad.mkdir()
    for each in stored.folder.iterdir():
        (bad / each.name).write_bytes(each.read_bytes())
    rows = np.memmap(bad / "distributions.bin", stored.form.row_type, "r+")
    rows["tokens"][3, 4] = 600
    rows.flush()
    other = Reference(bad, stored.tokenized)
    write(tmp_path / FILE, about(other, documents()), other, documents())
    with pytest.raises(DataError, match="beyond the vocabulary of 512"):
        imported(tmp_path / FILE, tmp_path / "in")


def test_what_is_left_of_a_write_that_failed(made: Mapping[Any, Any], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    stored = made[None][0]
    with pytest.raises(KeyboardInterrupt):
        write(
            tmp_path / FILE,
            about(stored, documents()),
            stored,
            [],
            progress=stop,
        )
    assert [*tmp_path.iterdir()] == []


def test_weights_are_told_from_a_reference_file_beside_them() -> None:
    """A folder with both is a checkpoint of its weights."""
    assert not weight_files.are_named(f"model{REFERENCE_SUFFIX}")
    assert weight_files.weights(["model.safetensors", f"model{REFERENCE_SUFFIX}"], None) == [
        "model.safetensors"
    ]
