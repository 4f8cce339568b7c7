"""Published files beside their source: what is identical, what is not, and what cannot be told."""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import qpipe
from qpipe.errors import CheckpointError, DataError, SourceError
from qpipe.gguf import convert, quantize, reader, values
from qpipe.gguf.chunks import Rows
from qpipe.packed import source as packed
from qpipe.session.attesting.attestation import Attestation, AttestedFile
from tests.gguf import arch_checkpoints, samples, snapped
from tests.gguf.test_gguf_arch import CASES
from tests.gguf.test_gguf_split import divide
from tests.packed import packing, published
from tests.session.attesting import files
from tests.session.attesting.files import TINY

LADDER = ("F16", "Q8_0", "Q4_K_M", "Q3_K_S", "Q4_0")
DOWN = "blk.2.ffn_down.weight"


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of llama.cpp's, by their names."""
    folder = tmp_path_factory.mktemp("ladder")
    made = {ftype: files.golden(folder, "tinystories-d256", ftype) for ftype in LADDER}
    made["i1"] = files.golden(folder, "tinystories-d256", "Q4_K_M", imatrix=True)
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the store, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one(answer: Attestation) -> AttestedFile:
    (file,) = answer.files
    return file


def unlike(file: AttestedFile) -> dict[str, str]:
    """Status by name of tensors that are not identical."""
    return {t.name: t.status for t in file.tensors if t.status != "identical"}


def test_a_ladder_of_llama_cpps_is_identical(ladder: dict[str, Path], here: Path) -> None:
    answer = qpipe.attest(*(ladder[name] for name in LADDER), source=TINY)
    assert answer.identical
    assert answer.exit_code == 0
    assert [file.type for file in answer.files] == list(LADDER)
    for file in answer.files:
        assert len(file.tensors) == 38
        assert file.way is not None
        assert file.way.via.name == "F16"
        assert file.metadata is not None
        assert file.metadata.different == []
        assert "general.file_type" in file.metadata.apart
        (part,) = file.parts
        assert part.sha256 in {row["sha256"] for row in samples.table("files.tsv")}


def test_few_files_are_open_at_once(ladder: dict[str, Path], here: Path) -> None:
    """However many tensors there are: a ladder of a large model has thousands."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 30, most[1]))
    try:
        assert qpipe.attest(ladder["Q8_0"], ladder["Q4_0"], source=TINY).identical
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_now + 2


def test_bytes_of_no_tensor_are_told(ladder: dict[str, Path], here: Path) -> None:
    """They change no verdict: tensors decide."""
    data = ladder["Q4_0"].read_bytes()
    tensors = sorted(reader.read(ladder["Q4_0"]).tensors.values(), key=lambda t: t.offset)
    behind, padded, unpadded, between = (here / f"{n}.gguf" for n in range(4))
    behind.write_bytes(data + b"x" * 1000)
    whole = -(-len(data) // 32) * 32
    padded.write_bytes(data.ljust(whole, b"\0"))
    unpadded.write_bytes(data[: tensors[-1].offset + tensors[-1].nbytes])
    shorter = files.aligned(ladder["Q4_0"], 4096)
    filled = bytearray(shorter.read_bytes())
    first, second = sorted(reader.read(shorter).tensors.values(), key=lambda t: t.offset)[:2]
    end = first.offset + first.nbytes
    gap = second.offset - end
    assert 0 < gap < 4096
    filled[end] = 1
    between.write_bytes(filled)
    answer = qpipe.attest(behind, padded, unpadded, shorter, between, source=TINY)
    assert answer.identical
    assert [file.parts[0].stray_bytes for file in answer.files] == [1000, 0, 0, 0, gap]


@pytest.mark.parametrize("via", ["BF16", "F32"])
def test_the_precision_in_between_is_found(via: str, here: Path) -> None:
    """Weights in single precision come out otherwise by each way."""
    given = convert.prepare(samples.MODELS["stories260K"], outtype=via)
    quantize.quantize(given, here / "q.gguf", ftype="Q4_0", threads=2)
    file = one(qpipe.attest("q.gguf", source=samples.MODELS["stories260K"]))
    assert file.identical
    assert file.way is not None
    assert file.way.via.name == via


def test_of_llama_cpps_by_way_of_single_precision(here: Path) -> None:
    made = files.golden(here, "stories260K", "Q5_1", imatrix=True)
    shutil.copy(samples.imatrix_of("stories260K"), here / "other-name")
    source = samples.MODELS["stories260K"]
    file = one(qpipe.attest(made, source=source, imatrix=here / "other-name"))
    assert file.identical
    assert file.way is not None
    assert (file.way.via.name, file.way.weighted) == ("F32", True)


def test_one_way_for_the_whole_file(ladder: dict[str, Path], here: Path) -> None:
    """A tensor that came by another way is different, and it is said by which."""
    source = samples.MODELS["stories260K"]
    plans = {via: convert.prepare(source, outtype=via) for via in ("F16", "BF16")}
    for via, plan in plans.items():
        quantize.quantize(plan, here / f"{via}.gguf", ftype="Q4_0", threads=2)
    other = {o.name: o for o in quantize.read(here / "BF16.gguf").outputs}
    name = "blk.1.ffn_up.weight"
    mixed = files.rewritten(
        here / "F16.gguf",
        "mixed",
        outputs=lambda o: [other[name] if x.name == name else x for x in o],
    )
    file = one(qpipe.attest(mixed, source=source))
    assert unlike(file) == {name: "different"}
    (tensor,) = (t for t in file.tensors if t.name == name)
    assert tensor.instead is not None
    assert tensor.instead.via.name == "BF16"
    assert tensor.reading == "same_weights"


def test_a_changed_byte_is_one_block(ladder: dict[str, Path], here: Path) -> None:
    damaged = files.with_byte(ladder["Q4_K_M"], DOWN, at=1)
    answer = qpipe.attest(damaged, ladder["Q4_K_M"], source=TINY)
    assert answer.exit_code == 4
    assert [file.identical for file in answer.files] == [False, True]
    assert unlike(answer.files[0]) == {DOWN: "different"}
    (tensor,) = (t for t in answer.files[0].tensors if t.name == DOWN)
    assert tensor.blocks == pytest.approx(256 / (768 * 256), rel=0.01)
    assert tensor.reading == "changed"
    assert tensor.error is not None
    assert tensor.our_error is not None
    assert tensor.error > 1.1 * tensor.our_error
    assert not answer.files[0].other_source


def test_swapped_tensors_are_other_weights(ladder: dict[str, Path], here: Path) -> None:
    pair = ("blk.0.attn_q.weight", "blk.1.attn_q.weight")
    file = one(qpipe.attest(files.swapped(ladder["Q4_K_M"], *pair), source=TINY))
    assert unlike(file) == dict.fromkeys(pair, "different")
    assert {t.reading for t in file.tensors if t.name in pair} == {"other_weights"}


def test_types_are_read_from_the_file(here: Path) -> None:
    rules = {"ffn_up": "Q5_K", "attn_v": "IQ4_NL", "token_embd": "Q8_0", "blk.0.ffn_down": "BF16"}
    qpipe.quantize(TINY, here / "mix.gguf", "Q3_K_M", tensor_types=rules)
    file = one(qpipe.attest("mix.gguf", source=TINY))
    assert file.identical
    assert {"Q5_K", "IQ4_NL", "Q8_0", "BF16"} <= {t.type for t in file.tensors}


def test_an_importance_matrix_that_is_named_and_not_here(
    ladder: dict[str, Path], here: Path
) -> None:
    """What would use it cannot be told: it is never said to be different."""
    answer = qpipe.attest(ladder["i1"], source=TINY)
    file = one(answer)
    assert answer.exit_code == 6
    assert file.undecided
    assert set(unlike(file).values()) == {"not_comparable"}
    assert file.counts["identical"] > 1
    assert file.imatrix is not None
    assert file.imatrix.noted == "tinystories-d256.imatrix.gguf"
    assert "beside" in str(file.imatrix.problem)
    damaged = files.with_byte(ladder["i1"], "blk.0.attn_norm.weight")
    assert qpipe.attest(damaged, source=TINY).exit_code == 4


@pytest.mark.parametrize("where", ["beside", "source", "given"])
def test_an_importance_matrix_is_found(
    where: str, ladder: dict[str, Path], tmp_path: Path, here: Path
) -> None:
    matrix = samples.imatrix_of("tinystories-d256")
    file, source = here / "q.gguf", samples.copy_model("tinystories-d256", here / "source")
    shutil.copy(ladder["i1"], file)
    places = {"beside": here, "source": source}
    if where in places:
        shutil.copy(matrix, places[where])
    given = matrix if where == "given" else None
    # With a ladder, files that were made without one are not held against it.
    answer = qpipe.attest(file, ladder["Q4_0"], source=source, imatrix=given)
    assert answer.identical
    weighted = [f.way.weighted for f in answer.files if f.way is not None]
    assert weighted == [True, False]


def test_an_importance_matrix_of_another_text(ladder: dict[str, Path], here: Path) -> None:
    """Whatever listens to it differs, as near to the source as before."""
    from qpipe.gguf import imatrix

    own = imatrix.read(samples.imatrix_of("tinystories-d256"))
    random = np.random.default_rng(0)
    entries = {
        name: (w * random.uniform(0.2, 5, w.shape), [1.0]) for name, w in own.weights.items()
    }
    imatrix.write(here / "x.gguf", entries, datasets=["x"], chunks=3, chunk_size=256)
    file = one(qpipe.attest(ladder["i1"], source=TINY, imatrix="x.gguf"))
    assert set(unlike(file).values()) == {"different"}
    assert {t.reading for t in file.tensors if t.reading} == {"same_weights"}
    assert file.imatrix is not None
    assert "chunks" in str(file.imatrix.mismatch)


def test_an_importance_matrix_of_another_model(ladder: dict[str, Path], here: Path) -> None:
    with pytest.raises(DataError, match="another model"):
        qpipe.attest(ladder["Q4_0"], source=TINY, imatrix=samples.imatrix_of("stories260K"))


def test_parts_are_one_model(ladder: dict[str, Path], here: Path) -> None:
    parts = divide(ladder["Q4_K_M"], here / "m", (3, 20, 15))
    file = one(qpipe.attest(*parts, source=TINY))
    assert file.identical
    assert [part.name for part in file.parts] == [part.name for part in parts]
    assert one(qpipe.attest(here / "m", source=TINY)).identical


def test_another_source(ladder: dict[str, Path], here: Path) -> None:
    """A model of the same shape: most matrices are far off, and it is said."""
    tensors = samples.load_tensors(TINY)
    random = np.random.default_rng(0)
    other = samples.copy_model("tinystories-d256", here / "other")
    for name, (dtype, shape, _) in tensors.items():
        bits = snapped.bf16(random.standard_normal(shape, np.float32) * np.float32(0.05))
        tensors[name] = (dtype, shape, bits.tobytes())
    samples.write_safetensors(other / "model.safetensors", tensors)
    answer = qpipe.attest(ladder["Q4_K_M"], ladder["F16"], source=other)
    assert answer.exit_code == 4
    assert all(file.other_source for file in answer.files)
    assert all(file.counts == {"different": 38} for file in answer.files)
    smaller = one(qpipe.attest(ladder["Q4_K_M"], source=samples.MODELS["stories260K"]))
    assert smaller.other_source
    assert {t.reading for t in smaller.tensors} == {"other_shape", None}


def test_tensors_too_many_and_too_few(ladder: dict[str, Path], here: Path) -> None:
    fewer = files.rewritten(
        ladder["Q8_0"], "fewer", outputs=lambda o: [x for x in o if x.name != DOWN]
    )
    assert unlike(one(qpipe.attest(fewer, source=TINY))) == {DOWN: "missing"}
    untied = files.rewritten(ladder["Q8_0"], "head", outputs=files.head_again)
    assert one(qpipe.attest(untied, source=TINY)).identical
    source = here / "fewer"
    qpipe.convert(TINY, here / "f16.gguf")
    source = files.rewritten(here / "f16.gguf", "x", outputs=lambda o: o[:-1])
    file = one(qpipe.attest(ladder["Q8_0"], source=source))
    assert set(unlike(file).values()) == {"extra"}


@pytest.mark.parametrize("outtype", ["F16", "F32"])
def test_a_gguf_file_is_a_source(outtype: str, ladder: dict[str, Path], here: Path) -> None:
    qpipe.convert(TINY, here / "source.gguf", outtype=outtype)
    assert qpipe.attest(ladder["Q4_K_M"], ladder["F16"], source="source.gguf").identical
    with pytest.raises(CheckpointError, match="a source is a checkpoint"):
        qpipe.attest(ladder["Q4_0"], source=ladder["Q8_0"])


def test_experts(here: Path) -> None:
    source = arch_checkpoints.write(here / "moe", *CASES["mixtral"])
    plan = convert.prepare(source, outtype="F16")
    quantize.quantize(plan, here / "q.gguf", ftype="Q4_K_M")
    name = "blk.1.ffn_up_exps.weight"
    damaged = files.with_byte(here / "q.gguf", name, at=60_001)
    answer = qpipe.attest("q.gguf", damaged, source=source)
    assert answer.files[0].identical
    assert unlike(answer.files[1]) == {name: "different"}


def test_a_lattice_is_a_way(here: Path) -> None:
    source = snapped.checkpoint(here / "qat")
    for provenance in ({"version": "1"}, None):
        plan = convert.prepare(source, outtype="F16")
        quantize.quantize(plan, here / "q.gguf", ftype="Q4_0", provenance=provenance)
        file = one(qpipe.attest("q.gguf", source=source))
        assert file.identical
        assert file.way is not None
        assert file.way.scales == "lattice"


def test_types_that_nobody_knows(ladder: dict[str, Path], here: Path) -> None:
    strange = files.with_type_number(ladder["Q8_0"], DOWN, 137)
    answer = qpipe.attest(strange, source=TINY)
    assert answer.exit_code == 6
    assert unlike(one(answer)) == {DOWN: "not_comparable"}
    (tensor,) = (t for t in one(answer).tensors if t.name == DOWN)
    assert "137" in str(tensor.why)


def test_a_damaged_file_leaves_the_others(ladder: dict[str, Path], here: Path) -> None:
    whole = ladder["Q8_0"].read_bytes()
    (here / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (here / "none.gguf").write_bytes(b"no such thing" * 10)
    answer = qpipe.attest("cut.gguf", ladder["Q4_0"], "none.gguf", source=TINY)
    assert answer.exit_code == 4
    assert [file.identical for file in answer.files] == [False, True, False]
    assert "ends after" in str(answer.files[0].problem)
    for name in ("cut", "none"):
        with pytest.raises(CheckpointError, match="not a usable GGUF file"):
            qpipe.attest(f"{name}.gguf", source=TINY)
    with pytest.raises(CheckpointError, match="no model"):
        qpipe.attest(samples.imatrix_of("tinystories-d256"), source=TINY)
    for missing in ("nowhere.gguf", here / "empty"):
        (here / "empty").mkdir(exist_ok=True)
        with pytest.raises(SourceError):
            qpipe.attest(missing, source=TINY)


def test_metadata_are_compared_apart(ladder: dict[str, Path], here: Path) -> None:
    tokens = values.decode(quantize.read(ladder["Q4_0"]).metadata["tokenizer.ggml.tokens"])
    assert isinstance(tokens, list)
    tokens[700] = "other"
    changed = {
        "tokenizer.ggml.tokens": values.strings([str(t).encode() for t in tokens]),
        "tokenizer.chat_template": values.string("{{ evil }}"),
        "llama.rope.freq_base": values.f32(5.0),
        "general.name": values.string("Another"),
    }
    file = one(qpipe.attest(files.rewritten(ladder["Q4_0"], "m", metadata=changed), source=TINY))
    assert file.identical
    assert file.metadata is not None
    different = {each.key: each for each in file.metadata.different}
    assert different.keys() == changed.keys() - {"general.name"}
    assert different["tokenizer.chat_template"].source is None
    assert str(different["tokenizer.ggml.tokens"].file).startswith(
        "1 of 1,024 differ, first at 700"
    )
    assert "general.name" in file.metadata.apart


def test_a_packed_source_cannot_tell(here: Path) -> None:
    """Tools unpack in other precisions: what differs may be made of it all the same."""
    source = published.by_hand(TINY, here / "packed", lambda w: packing.gptq(w, 4, 32))
    plan = convert.prepare(packed.opened(source), outtype="F16")
    quantize.quantize(plan, here / "q.gguf", ftype="Q8_0")
    damaged = files.with_byte(here / "q.gguf", DOWN)
    # As if it had been unpacked in another precision: the last bits of some weights.
    near = [replace(o, rows=Nudged(o.rows)) if o.name == DOWN else o for o in plan.outputs]
    quantize.quantize(replace(plan, outputs=near), here / "near.gguf", ftype="Q8_0")
    answer = qpipe.attest("q.gguf", damaged, "near.gguf", source=source)
    assert answer.files[0].identical
    assert unlike(answer.files[1]) == {DOWN: "different"}
    assert unlike(answer.files[2]) == {DOWN: "not_comparable"}


@dataclass(frozen=True)
class Nudged:
    """Rows whose weights are a thousandth larger."""

    rows: Rows
    type: None = None

    @property
    def origin(self) -> str:
        return self.rows.origin

    def floats(self, start: int, stop: int) -> np.ndarray:  # type: ignore[type-arg]
        return self.rows.floats(start, stop) * np.float32(1.001)

    def raw(self, start: int, stop: int) -> np.ndarray:  # type: ignore[type-arg]
        raise NotImplementedError


@pytest.mark.slow
def test_an_architecture_of_llama_cpps_converter(here: Path) -> None:
    """Its weights come but once, as they are quantized."""
    from qpipe.gguf.pydist import streaming
    from tests.gguf.test_gguf_pydist import FIELDS, SHAPES

    shapes = SHAPES | {"model.norm.bias": (arch_checkpoints.HIDDEN,)}
    source = arch_checkpoints.write(here / "orion", FIELDS, shapes)
    streaming.convert(source, here / "bf16.gguf", outtype="BF16")
    quantize.quantize(here / "bf16.gguf", here / "q.gguf", ftype="Q4_K_M")
    damaged = files.with_byte(here / "q.gguf", "blk.1.ffn_up.weight")
    answer = qpipe.attest("q.gguf", damaged, "bf16.gguf", source=source)
    assert [file.identical for file in answer.files] == [True, False, True]
    assert unlike(answer.files[1]) == {"blk.1.ffn_up.weight": "different"}


def test_answers_do_not_hang_on_threads(ladder: dict[str, Path], here: Path) -> None:
    damaged = files.with_byte(ladder["Q4_K_M"], DOWN, at=1)
    answers = [qpipe.attest(damaged, ladder["i1"], source=TINY, threads=n).record() for n in (1, 4)]
    assert answers[0] == answers[1]
