from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qpipe.recipe.references import (
    Path,
    environment,
    references,
    replaced,
    resolve,
    resolvers,
    targets,
)


@pytest.mark.parametrize(
    ("value", "used", "alias"),
    [
        ("${a.b}", {"a.b"}, "a.b"),
        ("${ a.b }", {"a.b"}, "a.b"),
        ("${a[b].c}", {"a.b.c"}, "a.b.c"),
        ("x-${a.b}", {"a.b"}, None),
        ("${a.b}-${c}", {"a.b", "c"}, None),
        ("${.b}", {"here.b"}, "here.b"),
        ("${..b}", {"b"}, "b"),
        ("${a.${c}}", {"a", "c"}, None),
        ("${oc.select:a.b,1}", {"a.b"}, None),
        ("${oc.env:HOME}", set(), None),
        (r"\${a.b}", set(), None),
        ("$a {b}", set(), None),
    ],
)
def test_references(value: str, used: set[str], alias: str | None) -> None:
    found = references({"here": {"x": value}})
    assert found.used == used
    assert found.aliases == ({"here.x": alias} if alias else {})


def test_references_in_lists() -> None:
    assert references({"a": [{"b": "${c}"}]}).aliases == {"a.0.b": "c"}


@pytest.mark.parametrize("value", ["${hydra.job.num}", "${hydra:job.num}", "x ${hydra:sweep.dir}"])
def test_hydras_fields(value: str) -> None:
    assert references({"a": value}).ask_hydra
    assert not references({"a": "${hydraulics.x}", "b": "${oc.env:hydra}"}).ask_hydra


def test_resolvers_and_environment() -> None:
    assert resolvers("${oc.env:A}-${now:%Y}${a.b}") == {"oc.env", "now"}
    assert environment("${oc.env:A}-${oc.env:B,x}") == {"A", "B"}
    assert environment("no") == set()
    assert environment("${oc.env:${name}}") is None


LEAF = st.one_of(
    st.integers(), st.booleans(), st.none(), st.text("ab ?", max_size=4),
    st.sampled_from(["${a}", "${b.c}", "${b}", "x${a}", "${.c}", "${a.b.c}", "${null}", "???"]),
)  # fmt: skip
TREE = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        LEAF,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.lists(inner, max_size=2),
        ),
        max_leaves=5,
    ),
    max_size=3,
)


@given(TREE)
def test_resolving_equals_omegaconf(raw: dict[str, Any]) -> None:
    config = OmegaConf.create(raw)

    def ask(path: Path) -> Any:
        node: Any = config
        for part in path:
            node = node[part]
        if OmegaConf.is_config(node):
            return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        return node

    plain: Any = OmegaConf.to_container(config)
    try:
        expected: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError):
        with pytest.raises((OmegaConfBaseException, RecursionError)):
            resolve(plain, ask)
    else:
        assert resolve(plain, ask) == expected


def test_replacing_a_scalar() -> None:
    raw = {"a": {"b": 1, "c": [1]}, "d": "${a}"}
    changed = replaced(raw, ["a", "b"], 2)
    assert changed == {"a": {"b": 2, "c": [1]}, "d": "${a}"}
    assert raw["a"] == {"b": 1, "c": [1]}
    for path in (["a"], ["a", "c"], ["d"], ["d", "b"], ["x"], ["a", "x"], ["a", "b", "x"]):
        assert replaced(raw, path, 2) is None


def test_targets() -> None:
    assert targets({"a": [{"_target_": "x", "b": {"_target_": "y"}}], "_target": "z"}) == {"x", "y"}
