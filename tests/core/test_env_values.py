from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.core.env_values import digest, hide, reveal
from qpipe.core.key import Json
from qpipe.errors import RecipeError

TEXTS = st.text("ab${}:", max_size=6)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(value=VALUES, variables=st.dictionaries(st.sampled_from(["A", "B"]), TEXTS))
def test_what_is_hidden_comes_back(value: Json, variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables.items():
            patch.setenv(name, text)
        assert reveal(hide(value, variables)) == value


def test_no_value_is_left() -> None:
    hidden = hide({"a": ["x-hunter2"], "hunter2": 2}, {"TOKEN": "hunter2"})
    assert hidden == {
        "a": [f"x-${{env:TOKEN:{digest('hunter2')}}}"],
        f"${{env:TOKEN:{digest('hunter2')}}}": 2,
    }


@pytest.mark.parametrize(("now", "words"), [(None, "is not set"), ("b", "has another value")])
def test_another_value_where_the_stage_runs(
    monkeypatch: pytest.MonkeyPatch, now: str | None, words: str
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    if now is not None:
        monkeypatch.setenv("TOKEN", now)
    with pytest.raises(RecipeError, match=rf"\$\{{oc.env:TOKEN\}}: the variable TOKEN {words}"):
        reveal(hide("a", {"TOKEN": "a"}))
