"""Keys: pinned digests, and equal values ⇔ equal encodings."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.core import key
from qpipe.core.graph import Resources, Runtime
from qpipe.core.key import Json
from tests.core.synthetic import node

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def canonical(value: Json) -> object:
    """The value with its types written out: an independent account of what is equal."""
    if isinstance(value, dict):
        return ("map", frozenset((name, canonical(item)) for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(canonical(item) for item in value))
    if isinstance(value, float):
        return ("float", value, math.copysign(1, value))
    return (type(value).__name__, value)


@given(VALUES, VALUES)
def test_equal_values_and_only_they_have_equal_encodings(one: Json, other: Json) -> None:
    assert (key.encode(one) == key.encode(other)) == (canonical(one) == canonical(other))


@given(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5))
def test_no_encoding_runs_into_the_next(some: list[Json], others: list[Json]) -> None:
    joined = [b"".join(map(key.encode, values)) for values in (some, others)]
    assert (joined[0] == joined[1]) == (canonical(some) == canonical(others))


def shuffled(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    if isinstance(value, list):
        return tuple(shuffled(item) for item in value)
    return value


@given(VALUES)
def test_order_of_names_and_kind_of_sequence_do_not_matter(value: Json) -> None:
    assert key.encode(shuffled(value)) == key.encode(value)


def test_look_alikes_differ() -> None:
    alike: list[Json] = [1, 1.0, True, "1", 0, 0.0, -0.0, False, None, "", "n", [], {}, [[]], [{}],
                         {"": None}, [None], "l", "\x00", 10**30, 1e30, "é", "e\u0301"]  # fmt: skip
    assert len({key.encode(value) for value in alike}) == len(alike)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_equals_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="only finite numbers"):
        key.encode({"a": [value]})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), Path("x"), {1: 2}, 1j])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        key.encode(value)  # type: ignore[arg-type]


def test_numbers_of_any_length_have_a_key() -> None:
    assert len(key.encode(10**6000)) > 4300


GOLDEN: Json = {"bits": 4, "scale": 0.1, "sym": True, "type": "Q4_K_M", "skip": ["a", None, -7]}


def test_golden_digests() -> None:
    """Pinned: if one of these changes, every artifact of every user is a miss."""
    assert key.encode(GOLDEN) == (
        b"ms4:bitsi4;s5:scaled0x1.999999999999ap-4es4:skipls1:ani-7;es3:symts4:types6:Q4_K_Me"
    )
    parts = {"stage": "quantize", "version": 3, "params": GOLDEN, "engine": {"name": "gguf"}}
    ids = {"model": "ab" * 32}
    assert key.node_id(**parts, inputs=ids) == NODE_ID  # type: ignore[arg-type]
    assert key.artifact_key(**parts, inputs=ids) == ARTIFACT_KEY  # type: ignore[arg-type]
    assert key.content_digest([("b/c", 2, "cd"), ("a", 1, "ab")]) == CONTENT
    assert key.composition_key(GOLDEN) == COMPOSITION


NODE_ID = "9537dde532e0598acf83c6c76785a41a10f750d57f8d9aeacb169674181a4376"
ARTIFACT_KEY = "31413dbc92a1dc3b809e4f668664567cbf4a2443d954e5a273ce8eb3be51d71c"
CONTENT = "0d542e4f6ffb1808536f4c5c118111e5ca14f28f08f257c8d28b2c0a29577a9f"
COMPOSITION = "61118a0449fc56c4f71c79dfe164d9f0794a25a744aa430a151fea73d334bc96"


def test_content_digest_ignores_order_alone() -> None:
    files = [("a", 1, "x"), ("b", 1, "y")]
    assert key.content_digest(files) == key.content_digest(reversed(files))
    assert key.content_digest(files) != key.content_digest([("a", 1, "y"), ("b", 1, "x")])


def test_every_field_of_a_configuration_counts_and_no_runtime_does() -> None:
    source, other = node("source"), node("other")
    base = node("n", inputs={"model": source}, params={"bits": 4})
    changed = [
        replace(base, stage="else"),
        replace(base, version=2),
        replace(base, params={"bits": 4.0}),
        replace(base, engine={"name": "gguf"}),
        replace(base, inputs={"model": other.id}),
        replace(base, inputs={"text": source.id}),
    ]
    assert len({n.id for n in [base, *changed]}) == 7
    assert len({n.key(n.inputs) for n in [base, *changed]}) == 7
    runtime = Runtime(
        "a:b", Resources(8, 1 << 30, 1), python="/x/python", timeout=5.0, where={"path": "/y"}
    )
    same = replace(base, name="renamed", runtime=runtime)
    assert (same.id, same.key({})) == (base.id, base.key({}))


def test_an_id_is_never_a_key() -> None:
    n = node("n")
    assert n.id != n.key({})


def test_hashes_of_files_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"abc" * 1_000_000)
    assert key.file_sha256(path) == key.bytes_sha256(b"abc" * 1_000_000)
    path.write_bytes(b"")
    assert key.file_sha256(path).startswith("e3b0c44298fc1c14")


def test_another_process_with_another_hash_seed_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    code = f"from qpipe.core import key; print(key.composition_key({GOLDEN!r}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == COMPOSITION
