"""Which type each tensor gets, against llama-quantize --dry-run; then the recipe's wishes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from qpipe import errors
from qpipe.gguf import ftypes, mixture, reader
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.mixture import TypeRequest, by_layer
from qpipe.gguf.reader import Tensor
from qpipe.gguf.types import GGMLType
from tests.gguf import samples, shapes


@pytest.mark.parametrize("name", list(shapes.SHAPES))
def test_every_name_mixes_as_llama_quantize_does(name: str, tmp_path: Path) -> None:
    shapes.write(tmp_path / "m.gguf", shapes.SHAPES[name])
    file = reader.read(tmp_path / "m.gguf")
    model = Hyperparameters.of(file.metadata, file.tensors)
    ordered = by_layer(file.tensors.values())
    rows = [row for row in samples.table("mixtures.tsv") if row["shape"] == name]
    assert len(rows) >= 30
    for row in rows:
        for has_imatrix in {"none": [False], "imatrix": [True]}.get(row["imatrix"], [False, True]):
            wanted = TypeRequest.of(row["ftype"])
            if row["counts"] == "failed":
                with pytest.raises(errors.RecipeError, match="no other type stands in"):
                    mixture.choose(ordered, model, wanted, has_imatrix=has_imatrix)
                continue
            chosen = mixture.choose(ordered, model, wanted, has_imatrix=has_imatrix).types
            counts = sorted(Counter(kind.name for kind in chosen.values()).items())
            case = (row["ftype"], has_imatrix)
            assert (case, " ".join(f"{kind}:{n}" for kind, n in counts)) == (case, row["counts"])
            lines = "".join(f"{tensor} {kind.name}\n" for tensor, kind in chosen.items())
            assert (case, hashlib.sha256(lines.encode()).hexdigest()) == (case, row["sha256"])


def test_the_table_has_every_name_and_shape() -> None:
    table = samples.table("mixtures.tsv")
    names = {name for name, ftype in ftypes.FILE_TYPES.items() if ftype.quantized}
    assert {(row["shape"], row["ftype"]) for row in table} == {
        (shape, name) for shape in shapes.SHAPES for name in names
    }


def tensors(*names: str, row: int = 256) -> list[Tensor]:
    return [Tensor(f"{name}.weight", (512, row), GGMLType.F16, 0, 0) for name in names]


LLAMA = Hyperparameters("llama", layers=8, heads=8, kv_heads=8)
TIED = Hyperparameters("llama", layers=8, heads=8, kv_heads=8, tied=True)
PARTS = ("output", "token_embd", "blk.0.attn_v", "blk.0.ffn_down", "blk.0.ffn_gate_inp")


def types(model: Hyperparameters, wanted: TypeRequest, *names: str, row: int = 256) -> list[str]:
    chosen = mixture.choose(tensors(*names, row=row), model, wanted).types
    return [kind.name for kind in chosen.values()]


def test_pure() -> None:
    mixed, pure = TypeRequest.of("Q4_K_M"), TypeRequest.of("Q4_K_M", pure=True)
    assert types(LLAMA, mixed, *PARTS) == ["Q6_K", "Q4_K", "Q6_K", "Q6_K", "F16"]
    assert types(LLAMA, pure, *PARTS) == ["Q4_K", "Q4_K", "Q4_K", "Q4_K", "F16"]


def test_output_and_embedding() -> None:
    wanted = TypeRequest.of("Q4_0", output_tensor_type="q8_0", token_embedding_type="bf16")
    assert types(LLAMA, wanted, *PARTS) == ["Q8_0", "BF16", "Q4_0", "Q4_0", "F16"]
    assert types(LLAMA, TypeRequest.of("F16", output_tensor_type="Q8_0"), *PARTS[:2]) == [
        "Q8_0",
        "F16",
    ]
    # A tied model's one matrix.
    assert types(TIED, TypeRequest.of("Q4_0", output_tensor_type="Q8_0"), "token_embd") == ["Q8_0"]
    assert types(TIED, TypeRequest.of("Q4_0", token_embedding_type="Q5_0"), "token_embd") == [
        "Q5_0"
    ]


def test_a_rule_takes_its_tensor_out_of_the_count() -> None:
    """llama-quantize counts what its own rules decide: the value after a ruled one is the first."""
    names = [f"blk.{layer}.attn_v" for layer in range(4)]
    wanted = TypeRequest.of("Q3_K_M", tensor_types={r"blk\.0\.": "Q8_0"})
    assert types(LLAMA, TypeRequest.of("Q3_K_M"), *names) == ["Q5_K", "Q5_K", "Q4_K", "Q4_K"]
    assert types(LLAMA, wanted, *names) == ["Q8_0", "Q5_K", "Q5_K", "Q4_K"]


def test_later_rules_win_and_the_second_embedding_can_be_named() -> None:
    wanted = TypeRequest.of(
        "Q4_0",
        tensor_types={"per_layer": "Q5_1", "ffn": "Q5_0", "ffn_down": "Q8_0"},
        token_embedding_type="F16",
    )
    names = ("token_embd", "per_layer_token_embd", "blk.0.ffn_up", "blk.0.ffn_down")
    assert types(LLAMA, wanted, *names) == ["F16", "Q5_1", "Q5_0", "Q8_0"]


@pytest.mark.parametrize(
    ("wanted", "model", "row", "message"),
    [
        (TypeRequest.of("Q4_0", output_tensor_type="Q8_0", pure=True), TIED, 256,
         "output_tensor_type has no effect: the model has no tensor 'output.weight'"),
        (TypeRequest.of("Q4_0", token_embedding_type="Q6_K"), LLAMA, 96,
         r"token_embedding_type: Q6_K is stored in blocks of 256 weights, .* rows of 96"),
        (TypeRequest.of("Q4_0", tensor_types={"token_embd": "Q8_0"}, token_embedding_type="Q5_0"),
         LLAMA, 256, r"tensor_types\['token_embd'\] has no effect beside token_embedding_type"),
        (TypeRequest.of("Q1_0"), LLAMA, 96, "'token_embd.weight' cannot be Q1_0: its rows of 96"),
    ],
)  # fmt: skip
def test_wishes_that_cannot_be_met(
    wanted: TypeRequest, model: Hyperparameters, row: int, message: str
) -> None:
    with pytest.raises(errors.RecipeError, match=message):
        types(model, wanted, "token_embd", row=row)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ftype": "Q4_K_X"}, r"'Q4_K_X' is no quantization that qpipe writes; did you mean"),
        ({"output_tensor_type": "Q4_K_M"}, "output_tensor_type: 'Q4_K_M' is no ggml tensor type"),
        ({"token_embedding_type": "Q8"}, "token_embedding_type: 'Q8' is no ggml tensor type"),
    ],
)
def test_names_that_are_none(fields: dict[str, str], message: str) -> None:
    with pytest.raises(errors.RecipeError, match=message):
        TypeRequest.of(**{"ftype": "Q4_0", **fields})  # type: ignore[arg-type]


def test_aliases() -> None:
    for alias, name in {"q3_k": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_k": "Q5_K_M"}.items():
        assert ftypes.file_type(alias) == ftypes.file_type(name)


def test_an_expert_without_a_layer() -> None:
    model = Hyperparameters("llama", layers=2, heads=8, kv_heads=8, experts=4)
    for name in ("ffn_down_exps", "blk.2.ffn_down_exps"):
        with pytest.raises(errors.CheckpointError, match=rf"'{name}.weight': .* 'blk.N.', N one"):
            types(model, TypeRequest.of("Q4_K_M"), name)


def test_one_row_is_a_vector() -> None:
    """ggml drops leading dimensions of one: such a tensor stays as it is."""
    tensor = Tensor("blk.0.ffn_up.weight", (1, 256), GGMLType.F16, 0, 0)
    assert (
        mixture.choose([tensor], LLAMA, TypeRequest.of("Q4_0")).types[tensor.name] is GGMLType.F16
    )
