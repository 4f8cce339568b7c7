"""Distributions with entry points, of which some cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.graph import Node, Runtime
from qpipe.session.refusals import lacks
from tests.cli import Answer, by_stage, qpipe

ROOT = Path(__file__).parents[2]

GOOD = """
from typing import Any, Literal
from qpipe.stages.base import Params, Stage

class ShrinkParams(Params):
    method: Literal["shrink"] = "shrink"

class Shrink(Stage):
    kind = "quantize"
    version = 1
    Params = ShrinkParams

    def run(self, params: Any, work: Any) -> dict[str, Any]:
        return {}
"""

RECIPE = """
defaults: [config, _self_]
model: {source: builtin:tinystories-d256}
stages:
  shrink: {uses: quantize, with: {method: shrink}}
run: {reference: null}
"""

# It loads, and its own code for `qpipe engines` fails.
SICK = GOOD.replace("shrink", "sicken").replace(
    "    def run(",
    """    @classmethod
    def check(cls) -> None:
        raise OSError("no driver")

    @classmethod
    def fingerprint(cls, params: Any) -> Any:
        raise ValueError(params)

    def run(""",
)

# What each distribution's module holds, None: there is none; and words of what is said of it.
BROKEN = {
    "missing": (None, "ModuleNotFoundError: No module named 'missing_plugin'"),
    "raising": ("raise RuntimeError('no licence\\nfor it')", "RuntimeError: no licence for it"),
    "exiting": ("import sys; sys.exit('set X first')", "SystemExit: set X first"),
    "typo": ("def Shrink(:", "SyntaxError: invalid syntax"),
    "nameless": ("Shrink_ = 1", "AttributeError: module 'nameless_plugin' has no attribute"),
    "number": ("Shrink = 1", "it is no subclass of qpipe.stages.base.Stage"),
    "abstract": ("from qpipe.stages.base import Stage as Shrink", "it has no method run"),
    "kindless": (GOOD.replace('kind = "quantize"', ""), "it declares no kind (str)"),
    "paramless": (GOOD.replace("Params = ShrinkParams", ""), "its Params is no subclass of"),
}


def distribution(folder: Path, name: str, module: str | None) -> None:
    """What installing a wheel leaves: a module, and metadata that names a class in it."""
    if module is not None:
        (folder / f"{name}_plugin.py").write_text(module)
    about = folder / f"{name}_plugin-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(
        f"[qpipe.engines]\nshrink-{name} = {name}_plugin:Shrink\n"
    )


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    distribution(folder, "good", GOOD)
    distribution(folder, "sick", SICK)
    for name, (module, _) in BROKEN.items():
        distribution(folder, name, module)
    return folder


def ask(*arguments: str, plugins: Path) -> Answer:
    # Bytecode counts as fresh where a source of equal size is written within the same second.
    env = {"PYTHONPATH": f"{ROOT}:{plugins}", "PYTHONDONTWRITEBYTECODE": "1"}
    return qpipe(*arguments, cwd=plugins, env=env)


def test_engines_lists_them_beside_what_works(plugins: Path) -> None:
    answer = ask("engines", "--json", plugins=plugins)
    assert answer.code == 0, answer.stderr
    told: dict[str, Any] = json.loads(answer.stdout)
    by_method = {engine["chosen_by"].get("method"): engine for engine in told["engines"]}
    assert by_method["gguf"]["usable"]
    assert by_method["shrink"]["usable"]
    assert by_method["sicken"]["problem"] == "its check fails: OSError: no driver"
    broken = {plugin["name"]: plugin for plugin in told["broken_plugins"]}
    assert broken.keys() == {f"shrink-{name}" for name in BROKEN}
    for name, (_, words) in BROKEN.items():
        plugin = broken[f"shrink-{name}"]
        assert words in plugin["problem"]
        assert plugin["distribution"] == f"{name}-plugin 1.2"
        assert plugin["target"] == f"{name}_plugin:Shrink"


def test_a_check_that_fails_is_a_reason_in_plans_too(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(plugins))
    node = Node("quantize", "quantize", 1, {}, {}, {}, Runtime(entry="sick_plugin:Shrink"))
    assert lacks(node) == "its check fails: OSError: no driver"


def test_doctor_names_each_and_the_base_works(plugins: Path) -> None:
    answer = ask("doctor", "--json", plugins=plugins)
    told = json.loads(answer.stdout)
    assert told["works"] is (answer.code == 0)
    checks = {check["name"]: check for check in told["checks"]}
    for name, (_, words) in BROKEN.items():
        check = checks[f"plugin shrink-{name}"]
        assert (check["state"], words in check["found"]) == ("absent", True)
        assert f"pip uninstall {name}-plugin" in check["fix"]


def test_a_recipe_that_needs_none_is_planned(plugins: Path) -> None:
    assert ask("plan", "demo", plugins=plugins).code == 0


def test_a_recipe_that_needs_one_says_so(plugins: Path) -> None:
    overrides = ("quantize.method=shrink-typo", "quantize.type=Q4_0")
    answer = ask("plan", "demo", *overrides, plugins=plugins)
    assert answer.code == 2
    assert "there is no method 'shrink-typo'; did you mean 'shrink'?" in answer.stderr
    assert (
        " (the plugin 'shrink-typo' of typo-plugin 1.2 (entry point qpipe.engines: "
        "typo_plugin:Shrink) could not be loaded: SyntaxError: invalid syntax"
    ) in answer.stderr
    assert f"{len(BROKEN) - 3} more: see `qpipe engines`" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_stage_of_an_unknown_kind_may_be_of_one(plugins: Path) -> None:
    answer = ask("plan", "demo", "stages.quantize.uses=raising", plugins=plugins)
    assert answer.code == 2
    assert "there is no stage 'raising'" in answer.stderr
    assert "RuntimeError: no licence for it" in answer.stderr


def test_a_plugin_whose_source_changes_is_planned_anew(tmp_path: Path) -> None:
    """As a developer's is, installed editable: no distribution changes, only a file."""
    distribution(tmp_path, "good", GOOD)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    ids = []
    for version in (1, 1, 2):
        module = GOOD.replace("version = 1", f"version = {version}")
        (tmp_path / "good_plugin.py").write_text(module)
        answer = ask("graph", "./recipe.yaml", "--json", plugins=tmp_path)
        assert answer.code == 0, answer.stderr
        ids.append(by_stage(json.loads(answer.stdout)["nodes"])["shrink"]["id"])
    assert ids[0] == ids[1] != ids[2]
