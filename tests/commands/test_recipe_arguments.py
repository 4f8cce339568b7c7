"""From a command line to a Request, in every order that people type; and tab completion."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from pathlib import Path

import pytest

from qpipe.cli import VERBS
from qpipe.commands import recipe_arguments
from qpipe.commands.parser import Parser
from qpipe.errors import UsageError
from qpipe.recipe.request import Request
from qpipe.session.context import Context
from tests.cli import called

ROOT = Path(__file__).parents[2]


def arguments(line: str) -> argparse.Namespace:
    verb, *words = shlex.split(line)
    parser = Parser(prog=f"qpipe {verb}", description="")
    importlib.import_module(f"qpipe.commands.{VERBS[verb][0]}").configure(parser, verb)
    return parser.parse_intermixed_args(words)


def parse(line: str) -> Context:
    return recipe_arguments.context(arguments(line))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QPIPE_STORE", raising=False)
    monkeypatch.delenv("QPIPE_RUNS", raising=False)


@pytest.mark.parametrize(
    "line",
    [
        "run demo -m quantize.type=Q8_0,Q4_0 +a.b=1 ~evaluate --json --store X",
        "run -m demo quantize.type=Q8_0,Q4_0 +a.b=1 ~evaluate --json --store X",
        "run --store X demo quantize.type=Q8_0,Q4_0 -m +a.b=1 --json ~evaluate",
        "run --json --store=X demo quantize.type=Q8_0,Q4_0 +a.b=1 ~evaluate --multirun",
        "run demo --store X quantize.type=Q8_0,Q4_0 --json +a.b=1 -m ~evaluate",
    ],
)
def test_any_order(line: str) -> None:
    context = parse(line)
    assert context.request == Request(
        "demo", ("quantize.type=Q8_0,Q4_0", "+a.b=1", "~evaluate"), multirun=True
    )
    assert (context.store, context.runs) == (Path("X"), Path("outputs/runs"))
    assert arguments(line).json


@pytest.mark.parametrize(
    ("line", "overrides"),
    [
        ("run demo ++a=1 'b=[1, 2]' c=-1", ("++a=1", "b=[1, 2]", "c=-1")),
        ("run demo 'a={x: -1}' a=", ("a={x: -1}", "a=")),
        ("plan demo ~a.b=c hydra.sweeper.n_trials=3", ("~a.b=c", "hydra.sweeper.n_trials=3")),
    ],
)
def test_overrides_are_left_alone(line: str, overrides: tuple[str, ...]) -> None:
    assert parse(line).request.overrides == overrides


def test_options_of_run() -> None:
    line = "run demo --keep-going --pin --quiet --runs R"
    args = arguments(line)
    assert (args.keep_going, args.pin, args.quiet) == (True, True, True)
    assert (parse(line).keep_going, parse(line).runs) == (True, Path("R"))
    with pytest.raises(UsageError, match="no option --pin"):
        parse("plan demo --pin")
    assert arguments("graph demo --format dot").format == "dot"


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("run demo --cfg job --resolve a=1", ("--cfg", "job", "--resolve")),
        ("run demo a=1 -c hydra --package run", ("--cfg", "hydra", "--package", "run")),
        ("run --info defaults demo a=1", ("--info", "defaults")),
        ("run demo a=1 --info", ("--info", "all")),
        ("run demo a=1 --hydra-help", ("--hydra-help",)),
        ("run demo a=1 -sc", ("--shell-completion",)),
    ],
)
def test_flags_of_hydra_are_passed_on(line: str, flags: tuple[str, ...]) -> None:
    assert parse(line).request == Request("demo", ("a=1",), flags=flags)


def test_the_path_of_a_recipe_may_hold_anything(tmp_path: Path) -> None:
    assert parse("run a=1/my.yaml b=2").request == Request("a=1/my.yaml", ("b=2",))
    with pytest.raises(UsageError, match="the recipe comes first"):
        parse("run quantize.type=Q8_0 demo")


def test_a_sweep_is_planned_whatever_the_order(tmp_path: Path) -> None:
    first = called("plan", "demo", "-m", "quantize.type=Q8_0,Q4_0", "--json", cwd=tmp_path)
    second = called("plan", "--json", "-m", "demo", "quantize.type=Q8_0,Q4_0", cwd=tmp_path)
    assert first.code == second.code == 0, first.stderr
    assert json.loads(first.stdout)["nodes"] == json.loads(second.stdout)["nodes"]
    names = {node["name"] for node in json.loads(first.stdout)["nodes"]}
    assert {"quantize[tinystories-d256 Q8_0]", "quantize[tinystories-d256 Q4_0]"} <= names
    assert "convert[tinystories-d256]" in names
