"""Pickles become safetensors, byte for byte as transformers writes them; nothing else is read."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.weight_files import INDEX
from qpipe.sources import pickle_check, pickle_files
from qpipe.sources.pickle_names import PICKLED_INDEX
from qpipe.sources.unpickle import Unpickle, UnpickleParams
from qpipe.stages.base import Work
from tests.sources.pickled import llama, save

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("unpickle")]

ORIGINS = {"checkpoint": {"params": {"repo": "a/b", "commit": "0" * 40}, "facts": {"name": "a/b"}}}


def unpickled(folder: Path, out: Path) -> tuple[Path, Any]:
    out.mkdir()
    work = Work({"checkpoint": folder}, out, 1, lambda done, total, unit: None, {}, origins=ORIGINS)
    return out, Unpickle().run(UnpickleParams(), work)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_bytes_are_those_of_transformers(tmp_path: Path, *, tied: bool, legacy: bool) -> None:
    from transformers import LlamaForCausalLM

    source = save(tmp_path / "bin", llama(tied=tied), legacy=legacy)
    model = LlamaForCausalLM.from_pretrained(source, dtype="bfloat16")
    model.save_pretrained(tmp_path / "theirs")
    out, facts = unpickled(source, tmp_path / "ours")
    theirs = (tmp_path / "theirs" / "model.safetensors").read_bytes()
    assert (out / "model.safetensors").read_bytes() == theirs
    assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors"
    ][:: 1 if (source / "generation_config.json").exists() else 2]  # fmt: skip
    assert facts["aliases"] == ({"lm_head.weight": "model.embed_tokens.weight"} if tied else {})
    assert (facts["repo"], facts["commit"]) == ("a/b", "0" * 40)


def test_parts_stay_parts_with_an_index(tmp_path: Path) -> None:
    model = llama(tied=False)
    source = save(tmp_path / "bin", model, parts=3)
    out, _ = unpickled(source, tmp_path / "ours")
    state = model.state_dict()
    assert read_tensors(out).keys() == state.keys()  # the index and the files agree
    assert len([*out.glob("model-0000?-of-00003.safetensors")]) == 3
    size = json.loads((out / INDEX).read_text())["metadata"]["total_size"]
    assert size == sum(tensor.numel() * 2 for tensor in state.values())


def test_views_of_the_same_bytes_are_written_each(tmp_path: Path) -> None:
    """Both names are needed where nothing says that one stands for the other."""
    import torch
    from safetensors.torch import load_file

    whole = torch.arange(24.0).reshape(4, 6)
    state = {"a": whole, "b": whole, "rows": whole[1:3], "columns": whole.T, "none": whole[:0]}
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": false}')
    out, facts = unpickled(tmp_path, tmp_path / "out")
    written = load_file(out / "model.safetensors")
    assert written.keys() == state.keys() and not facts["aliases"]
    assert all(torch.equal(written[name], state[name]) for name in state)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_class_is_named_and_never_made(tmp_path: Path, *, zipped: bool, protocol: int) -> None:
    import torch

    class_ = Fraction(1, 2)  # harmless, and no tensor
    torch.save(
        {"a": torch.ones(2), "b": class_},
        tmp_path / "pytorch_model.bin",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    (tmp_path / "config.json").write_text("{}")
    words = "asks for 'fractions.Fraction' to be loaded" if protocol == 2 else "STACK_GLOBAL"
    with pytest.raises(CheckpointError, match=words):
        unpickled(tmp_path, tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


def test_what_torch_refuses_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks, each of which would do: without ours, torch's own."""
    import torch

    torch.save({"b": Fraction(1, 2)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    allowed = pickle_check._CLASSES | {"fractions Fraction"}
    monkeypatch.setattr(pickle_check, "_CLASSES", allowed)
    with pytest.raises(CheckpointError, match=r"with weights_only: 'fractions\.Fraction'"):
        unpickled(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"model": {"x": 1}}, "entry 'model' is a dict, not a tensor"),
        ({"step": 3}, "entry 'step' is a int, not a tensor"),
        ({3: None}, "entry 3 is no name of a tensor"),
        ([1], "holds a list, not tensors by name"),
        ({}, "holds no tensor"),
    ],
)
def test_what_is_no_tensor_is_refused(tmp_path: Path, entries: Any, words: str) -> None:
    import torch

    torch.save(entries, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        unpickled(tmp_path, tmp_path / "out")
    assert words in str(caught.value)


def zipped(path: Path, entries: dict[str, bytes], **settings: Any) -> Path:
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


EMPTY = pickle.dumps({}, 2)


@pytest.mark.parametrize(
    ("entries", "settings", "words"),
    [
        ({"x/data.pkl": EMPTY}, {"compression": zipfile.ZIP_DEFLATED}, "compressed or encrypted"),
        ({"x/data.pkl": EMPTY, "../data/0": b"1234"}, {}, r"entry '\.\./data/0', which lies in no"),
        ({"x/data/0": b"1234"}, {}, r"no data\.pkl in it"),
        ({"x/data.pkl": EMPTY, "x/constants.pkl": EMPTY}, {}, "TorchScript, which is a program"),
        ({"x/data.pkl": EMPTY, "x/code/__torch__.py": b"1"}, {}, "TorchScript, which is a program"),
        ({"x/data.pkl": b"\x80\x02junk"}, {}, "no file of torch.save"),
        ({"x/data.pkl": b"\x80\x02K\xffM\xff\xffJ\x00\x00\x00\x10."}, {}, "a size of 268435456"),
    ],
)
def test_zips_are_looked_through(
    tmp_path: Path, entries: dict[str, bytes], settings: Any, words: str
) -> None:
    path = zipped(tmp_path / "x.bin", entries, **settings)
    if "268435456" in words:
        path = zipped(path, {**entries, "x/data/0": bytes(1 << 17)})
    with pytest.raises(CheckpointError, match=words):
        pickle_check.check(path)


def test_counts_of_a_zip_are_held_against_the_file(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "x.bin", {"x/data.pkl": EMPTY, "x/data/0": bytes(64)}).read_bytes()
    assert pickle_check.check(tmp_path / "x.bin").zipped
    end = whole.rindex(b"PK\5\6")
    many = bytearray(whole)
    struct.pack_into("<HI", many, end + 10, 0xFFF0, 0x7FFFFFFF)
    listed = whole.rindex(b"PK\1\2")
    large = bytearray(whole)
    struct.pack_into("<II", large, listed + 20, 0x7FFFFFFF, 0x7FFFFFFF)
    early = bytearray(whole)  # entries would begin before the file
    (start,) = struct.unpack_from("<I", whole, end + 16)
    struct.pack_into("<I", early, end + 16, start + 5)
    for damaged, words in (
        (many, "a list of 65,520 entries"),
        (large, "of 2,147,483,647 bytes of"),
        (early, "the entry .* bytes of|no file of torch"),
    ):
        (tmp_path / "y.bin").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=words):
            pickle_check.check(tmp_path / "y.bin")
    for data in (whole[: end - 5], b"", b"PK\3\4", b"\x80\x02"):
        (tmp_path / "y.bin").write_bytes(data)
        with pytest.raises(CheckpointError):
            pickle_check.check(tmp_path / "y.bin")


@pytest.mark.parametrize(
    ("names", "index", "words"),
    [
        ([], None, "holds no pytorch_model.bin"),
        (["pytorch_model.bin", "pytorch_model-00001-of-00001.bin"], None, "two sets of weights"),
        (["pytorch_model-00001-of-00002.bin"], None, "00002-of-00002.bin: missing"),
        (["pytorch_model-00001-of-99999.bin"], None, "00002-of-99999.bin: missing"),
        (["pytorch_model.bin"], {"a": "../pytorch_model.bin"}, "no name of a file of weights"),
        (["pytorch_model.bin"], {"a": "/etc/hostname"}, "no name of a file of weights"),
        (["pytorch_model.bin"], {"a": 1}, "no name of a file of weights"),
        (["pytorch_model.bin"], {}, "is no object"),
    ],
)
def test_names_of_files(tmp_path: Path, names: list[str], index: Any, words: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    if index is not None:
        (tmp_path / PICKLED_INDEX).write_text(json.dumps({"weight_map": index}))
    with pytest.raises(CheckpointError, match=words):
        pickle_files.weight_files(tmp_path)


@pytest.mark.parametrize("prefixed", [True, False], ids=["whole", "base model"])
def test_opt_computes_the_same(tmp_path: Path, *, prefixed: bool) -> None:
    """The family of recipes that need it; its pickles may be of the model without a head."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    whole: Any = OPTForCausalLM
    config: Any = OPTConfig
    model = whole(
        config(
            vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, word_embed_proj_dim=32,
        )
    ).eval()  # fmt: skip
    source = save(tmp_path / "bin", model)
    if not prefixed:
        state = model.model.state_dict()
        torch.save(state, source / "pytorch_model.bin")
    out, facts = unpickled(source, tmp_path / "ours")
    again = whole.from_pretrained(out).eval()
    tokens = torch.arange(10)[None]
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    assert bool(facts["aliases"]) == prefixed


def test_without_torch_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    assert Unpickle.check() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problem = Unpickle.check()
    assert problem is not None and problem.startswith("reading a pickle needs torch: pip install")
    assert "[hf]" in problem
