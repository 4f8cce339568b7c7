from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qpipe.results.tensors import TensorDetail, from_fact, to_fact

DETAILS = st.builds(
    TensorDetail,
    name=st.text(),
    type=st.sampled_from(["Q4_K", "IQ2_XXS", "F32"]),
    shape=st.lists(st.integers(0, 10**9), min_size=1, max_size=4).map(tuple),
    error=st.none() | st.floats(1e-8, 9999).map(lambda error: float(f"{error:.4g}")),
)


@given(st.lists(DETAILS, unique_by=lambda detail: detail.name))
def test_it_comes_back(details: list[TensorDetail]) -> None:
    assert [*from_fact(to_fact(details))] == details


def test_what_is_in_a_manifest() -> None:
    (name, text), *_ = to_fact(
        [TensorDetail("blk.3.attn_q.weight", "Q4_K", (64, 256), 0.07131)]
    ).items()
    assert (name, text) == ("blk.3.attn_q.weight", "Q4_K 64x256 0.07131")


def test_layers_and_kinds() -> None:
    def place(name: str) -> tuple[int | None, str]:
        detail = TensorDetail(name, "F32", (1,))
        return detail.layer, detail.kind

    assert place("blk.12.ffn_down_exps.weight") == (12, "ffn_down_exps")
    assert place("blk.0.attn_q.bias") == (0, "attn_q.bias")
    assert place("token_embd.weight") == (None, "token_embd")


def test_what_is_none() -> None:
    facts: list[object] = [
        None,
        [],
        "x",
        {"a": None},
        {"a": "Q4_K"},
        {"a": "Q4_K 1x2 nan"},
        {"a": "<b> 1"},
    ]
    assert {from_fact(fact) for fact in facts} == {()}
