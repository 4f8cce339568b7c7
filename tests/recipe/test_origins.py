from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.recipe.origins import Layer, Origins, line_of
from tests.recipe.composing import single, write

BASE = """
    # comment
    model:
      source: ???
      revision: 12e4567
    quantize: {type: Q8_0,
      via: f16}
    rules:
      blk.0.*: Q4_0
      blk.0.ffn: Q6_K
    list:
      - a
      - {b: 1}
    same: &same
      x: 1
    other:
      <<: *same
      y: 2
    linked: ${quantize}
    round: ${turn}
    turn: ${round}
"""
GROUP = """
    type: Q4_0
    extra: {deep: "quoted"}
"""


@pytest.fixture
def origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origins:
    monkeypatch.chdir(tmp_path)
    base, group = tmp_path / "base.yaml", tmp_path / "g" / "group.yaml"
    write(base, BASE)
    write(group, GROUP)
    overrides = (
        "model.source=a/b",
        "++list=[c,{d: 2}]",
        "~rules",
        "vars={p: 1, q.r: 2}",
    )
    layers = (Layer(str(base)), Layer(str(group), "quantize"))
    return Origins(str(base), layers, overrides)


@pytest.mark.parametrize(
    ("field", "where", "raw"),
    [
        ("model.source", "the override 'model.source=a/b'", "a/b"),
        ("model.revision", "base.yaml:4", "12e4567"),
        ("quantize.type", "g/group.yaml:1", "Q4_0"),
        ("quantize.via", "base.yaml:6", "f16"),
        ("quantize.extra.deep", "g/group.yaml:2", "quoted"),
        ("quantize", "base.yaml:5", None),
        # Nobody set it: the block that it would stand in.
        ("quantize.nothing", "base.yaml:5", None),
        ("model.nothing.at.all", "base.yaml:2", None),
        ("nothing", "base.yaml", None),
        # Keys with dots of their own.
        ("rules.blk.0.*", "base.yaml:8", "Q4_0"),
        ("rules.blk.0.ffn", "base.yaml:9", "Q6_K"),
        ("list.1.d", "the override '++list=[c,{d: 2}]'", None),
        ("vars.p", "the override 'vars={p: 1, q.r: 2}'", None),
        ("vars.z", "base.yaml", None),
        ("other.x", "base.yaml:14", "1"),
        ("other.y", "base.yaml:17", "2"),
        # Through an interpolation, to who set the value.
        ("linked.type", "g/group.yaml:1", "Q4_0"),
        ("linked.via", "base.yaml:6", "f16"),
        ("linked", "base.yaml:18", "${quantize}"),
    ],
)
def test_fields(origins: Origins, field: str, where: str, raw: str | None) -> None:
    assert origins.origin(field) == where
    assert origins.raw(field) == raw


def test_links_in_a_circle_end(origins: Origins) -> None:
    assert origins.origin("round.x").startswith("base.yaml:")


def test_later_overrides_win(tmp_path: Path) -> None:
    origins = Origins("r.yaml", (), ("a.b=1", "+a={b: 2}", "a.b=3"))
    assert origins.origin("a.b") == "the override 'a.b=3'"
    assert origins.raw("a.b") == "3"


def test_paths_outside_the_current_folder_are_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "a: 1")
    assert Origins(path, (Layer(path),)).origin("a") == f"{path}:1"


def test_a_file_that_is_gone_says_nothing(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.yaml")
    assert Origins(gone, (Layer(gone),)).origin("a.b") == gone


def test_the_line_of_a_key(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "a:\n- b: 1\n- {c: 2,\n   _target_: x}\n")
    assert line_of(path, "_target_") == f"{path}:4"
    assert line_of(path, "nothing") == path


def test_what_load_supplies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "quantize" / "own.yaml", "type: OWN\nbits: 4\n")
    write(
        tmp_path / "r.yaml",
        """
        defaults: [config, override quantize: own, _self_]
        model:
          source: x
        quantize: {bits: 5}
        """,
    )
    origins = single("r.yaml", "run.keep_going=true", "~evaluate", "+vars.a=12e4567").origins
    assert origins.origin("model.source") == "r.yaml:3"
    assert origins.origin("quantize.bits") == "r.yaml:4"
    # No `# @package _global_`: the file fills the block of its group's name.
    assert origins.origin("quantize.type") == "quantize/own.yaml:1"
    assert origins.origin("run.keep_going") == "the override 'run.keep_going=true'"
    assert origins.raw("vars.a") == "12e4567"
    assert re.search(r"recipes/config\.yaml:\d+$", origins.origin("run.timeout"))


def test_an_override_below_a_single_value_answers_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "quantize: {type: Q8_0}")
    origins = Origins(path, (Layer(path),), ("+quantize.type.x=null",))
    assert origins.origin("quantize.type") == "the override '+quantize.type.x=null'"
    assert origins.origin("quantize").endswith("r.yaml:1")
