"""Types of another file, given to a model's tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qpipe import errors
from qpipe.engines.gguf import NativeParams
from qpipe.gguf import convert, mixture, quantize, reader
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.like import LikeFile
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.types import GGMLType
from qpipe.stages.base import keyed
from tests.cli import called
from tests.gguf import samples

MIX = {
    "ffn_down": "Q6_K",
    r"blk\.[12]\.ffn_down": "Q5_K",
    "attn_v": "Q8_0",
    "attn_output": "BF16",
    r"blk\.3\.attn_k": "IQ4_NL",
}


@pytest.fixture(scope="module")
def model() -> FilePlan:
    return convert.prepare(samples.MODELS["tinystories-d256"], outtype="F16")


@pytest.fixture(scope="module")
def mixed(model: FilePlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose types no name stands for."""
    out = tmp_path_factory.mktemp("mixed") / "mix.gguf"
    convert.convert(samples.MODELS["tinystories-d256"], out.parent / "f16.gguf", outtype="F16")
    quantize.quantize(model, out, ftype=TypeRequest.of("Q4_K_M", tensor_types=MIX))
    return out


def written(
    model: FilePlan,
    out: Path,
    *,
    rules: Mapping[str, str] | None = None,
    like: LikeFile | None = None,
) -> bytes:
    wanted = TypeRequest.of("Q4_K_M", tensor_types=rules, like=like)
    quantize.quantize(model, out, ftype=wanted)
    return out.read_bytes()


def test_its_types_give_the_same_bytes(model: FilePlan, mixed: Path, tmp_path: Path) -> None:
    like = LikeFile.read(mixed)
    assert (like.name, like.file_type) == ("mix.gguf", "Q4_K_M")
    assert written(model, tmp_path / "like.gguf", like=like) == mixed.read_bytes()
    again = LikeFile.from_json(like.to_json())
    assert again == like and again.digest == like.digest
    assert replace(like, name="other.gguf").digest == like.digest, "the name makes no difference"


def test_as_rules_of_a_recipe_too(model: FilePlan, mixed: Path, tmp_path: Path) -> None:
    rules = dict(LikeFile.read(mixed).rules(arch="llama"))
    assert written(model, tmp_path / "rules.gguf", rules=rules) == mixed.read_bytes()
    assert rules[r"^blk\.\d+\.attn_v\.weight$"] == "Q8_0"
    assert rules[r"^blk\.(1|2)\.ffn_down\.weight$"] == "Q5_K"
    assert len(rules) == 10, "a line for each kind, and those for layers with another type"


def test_rules_of_ones_own_go_before(model: FilePlan, mixed: Path, tmp_path: Path) -> None:
    like = LikeFile.read(mixed)
    out = tmp_path / "own.gguf"
    written(model, out, rules={"attn_q": "Q5_1"}, like=like)
    types = {name: tensor.type for name, tensor in reader.read(out).tensors.items()}
    assert types["blk.2.attn_q.weight"] is GGMLType.Q5_1
    others = {name: kind for name, kind in types.items() if "attn_q" not in name}
    assert others == {name: like.type_of(name) for name in others}


def changed(like: LikeFile, **tensors: tuple[GGMLType, tuple[int, ...]] | None) -> LikeFile:
    """The file with other tensors; None takes one away."""
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    every = {**like.tensors, **names}
    return replace(like, tensors={n: t for n, t in every.items() if t is not None})


NOT_HERE = (GGMLType.Q4_K, (256, 256))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"blk__1__attn_q__weight": None}, r"it lacks a tensor \(blk.\{1\}.attn_q.weight\)"),
        (
            {f"blk__{n}__attn_q__weight": NOT_HERE for n in (4, 5)},
            r"it has 2 tensors that the model lacks \(blk.\{4-5\}.attn_q.weight\)",
        ),
        (
            {"blk__0__attn_q__weight": (GGMLType.Q4_K, (512, 256))},
            "it has a tensor of another shape than the model",
        ),
        (
            {"blk__0__attn_q__weight": (GGMLType.Q2_0, (256, 256))},
            r"of types that qpipe does not write \(Q2_0\).*tensor_types",
        ),
    ],
)
def test_a_file_of_another_model(
    model: FilePlan,
    mixed: Path,
    tensors: dict[str, tuple[GGMLType, tuple[int, ...]] | None],
    says: str,
) -> None:
    like = changed(LikeFile.read(mixed), **tensors)
    with pytest.raises(errors.RecipeError, match=f"quantize.like: mix.gguf does not fit.*{says}"):
        quantize.prepare(model, TypeRequest.of("Q4_K_M", like=like))


def test_added_tokens_are_no_other_model(model: FilePlan, mixed: Path) -> None:
    like = changed(LikeFile.read(mixed), token_embd__weight=(GGMLType.Q6_K, (1000, 256)))
    plan = quantize.prepare(model, TypeRequest.of("Q4_K_M", like=like))
    assert plan.types["token_embd.weight"] is GGMLType.Q6_K


def test_a_rule_stands_for_what_it_lacks(model: FilePlan, mixed: Path) -> None:
    like = changed(LikeFile.read(mixed), blk__1__attn_q__weight=None)
    request = TypeRequest.of("Q4_K_M", tensor_types={r"1\.attn_q": "Q8_0"}, like=like)
    assert quantize.prepare(model, request).types["blk.1.attn_q.weight"] is GGMLType.Q8_0


def test_types_that_need_importances(model: FilePlan, mixed: Path, tmp_path: Path) -> None:
    needy = {f"blk__{n}__attn_q__weight": (GGMLType.IQ2_XXS, (256, 256)) for n in range(4)}
    request = TypeRequest.of("Q4_K_M", like=changed(LikeFile.read(mixed), **needy))
    with pytest.raises(errors.RecipeError, match=r"IQ2_XXS \(and 3 others\), which is garbage"):
        quantize.prepare(model, request)
    matrix = samples.imatrix_of("tinystories-d256")
    plan = quantize.prepare(model, request, imatrix=matrix)
    assert plan.types["blk.2.attn_q.weight"] is GGMLType.IQ2_XXS


def test_a_finished_file_is_not_taken_for_it(mixed: Path) -> None:
    request = TypeRequest.of("Q4_K_M", like=LikeFile.read(mixed))
    assert request.changes("Q4_K_M")
    assert mixture.TypeRequest.of("Q4_K_M").changes("Q4_K_M") is False


def test_parameters_hold_its_types(mixed: Path, tmp_path: Path) -> None:
    plain = NativeParams.model_validate({"type": "Q8_0"})
    assert not {"like", "like_digest"} & keyed(plain).keys(), "keys of before stay"
    params = NativeParams.model_validate({"type": "Q8_0", "like": str(mixed)})
    assert params.type == "Q4_K_M"
    assert keyed(params)["like_digest"] == LikeFile.read(mixed).digest
    other = tmp_path / "other.gguf"
    shutil.copy(mixed, other)
    renamed = NativeParams.model_validate({"type": "Q8_0", "like": str(other)})
    assert keyed(renamed) == keyed(params)
    other.unlink()
    worker = NativeParams.model_validate({**keyed(renamed), "like": renamed.like})
    assert worker == renamed, "once read, the file is not needed any more"
    assert worker.bits_per_weight() == pytest.approx(LikeFile.read(mixed).bits_per_weight)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"like": "nowhere.gguf"}, "nowhere.gguf: no such file; give a GGUF file on this machine"),
        ({"like": __file__}, "not a usable GGUF file"),
        ({"like": "MIX", "type": "Q5_K_M"}, "the file that like names is Q4_K_M: leave type out"),
        ({"like": "MIX", "pure": True}, "pure has no effect beside like"),
    ],
)
def test_settings_that_do_not_fit(mixed: Path, settings: dict[str, object], says: str) -> None:
    given = {"type": "Q8_0", **settings}
    if given["like"] == "MIX":
        given["like"] = str(mixed)
    with pytest.raises(ValueError, match=says):
        NativeParams.model_validate(given)


def test_a_file_that_changed_is_read_again(mixed: Path, tmp_path: Path) -> None:
    """Though neither the recipe nor its overrides did, of which plans are remembered."""
    file = tmp_path / "types.gguf"
    shutil.copy(mixed, file)
    command = (
        *("plan", "local", "model.source=builtin:tinystories-d256", "evaluate=none"),
        *(f"quantize.like={file}", "--store", str(tmp_path / "store")),
    )
    first = called(*command, cwd=tmp_path)
    assert f"types like types.gguf ({LikeFile.read(file).digest[:12]})" in first.stdout
    quantize.quantize(mixed.parent / "f16.gguf", file, ftype="Q4_K_M")
    second = called(*command, cwd=tmp_path)
    assert f"types like types.gguf ({LikeFile.read(file).digest[:12]})" in second.stdout
    assert first.stdout != second.stdout


def test_inspect_prints_rules(mixed: Path, tmp_path: Path) -> None:
    answer = called("inspect", str(mixed), "--rules", cwd=tmp_path)
    settings = yaml.safe_load(answer.stdout)["quantize"]
    assert settings["type"] == "Q4_K_M"
    assert NativeParams.model_validate(settings).tensor_types == dict(
        LikeFile.read(mixed).rules(arch="llama")
    )
    described = json.loads(called("inspect", str(mixed), "--rules", "--json", cwd=tmp_path).stdout)
    assert described["rules"] == settings
    refused = called("inspect", "builtin:tinystories-d256", "--rules", cwd=tmp_path)
    assert refused.code == 2 and "GGUF" in refused.stderr
