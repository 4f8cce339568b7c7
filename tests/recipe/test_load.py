"""Composing: that it equals Hydra's own, takes what Hydra takes, and touches nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from qpipe.errors import RecipeError, StageError
from qpipe.recipe.load import drive
from qpipe.recipe.load.compose import Composer
from qpipe.recipe.load.repository import RecipeLoader
from qpipe.recipe.load.sweep import register
from qpipe.recipe.overrides import label
from qpipe.recipe.request import InvalidJob, Job, Request, shipped_recipes
from tests.recipe.composing import batches, composed, single, sweep, write

WHOLE = """
    defaults:
      - config
      - override quantize: gguf
      - _self_
    model: {source: x}
    vars:
      name: from-${model.source}
      deep: {a: 1, b: [1, 2, {c: "${quantize.via}"}], dotted.key: 3}
      whole: ${vars.deep}
      relative: {up: "${..name}", here: "${.up}"}
      picked: ${oc.select:vars.nothing, ${quantize.via}}
      text: "a \\\\${not} b"
    stages:
      extra: {uses: evaluate, needs: {model: quantize}, with: "${evaluate}"}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    write(
        tmp_path / "quantize" / "own.yaml", "# @package _global_\nquantize: {type: OWN, via: f16}"
    )
    write(tmp_path / "vars" / "pair.yaml", "left: ${.right}\nright: [1, '${model.source}']")
    return write(tmp_path / "mine.yaml", WHOLE)


@pytest.fixture
def composer(recipe: str) -> Composer:
    register()
    return Composer(Path(recipe), ())


def alone(recipe: str, overrides: Sequence[str]) -> Any:
    """One job as Hydra's documented API composes it."""
    file = Path(recipe)
    shipped = f"hydra.searchpath=[{shipped_recipes()}]"
    with initialize_config_dir(config_dir=str(file.parent), version_base="1.3"):
        config = compose(file.stem, [shipped, *overrides])
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def products(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep as Hydra's own sweeper lists them."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


SWEEPS = [
    ["quantize.type=Q4_0,Q8_0", "evaluate.chunks=1,2,3"],
    ["quantize=gguf,none,own", "evaluate.chunks=range(0,3)"],
    ["+vars.new=1,a,[x,y],{k: v}", "vars.deep.a=null,true,1.5,1e3,'quoted, text'"],
    ["~evaluate", "~stages.extra", "quantize.type=A,B"],
    ["~stages.extra", "evaluate=perplexity,none,[none],[perplexity,none]"],
    ["++vars.deep={a: 7, z: {y: x}},{a: 8}", "++vars.deep.a=1,2", "++vars.fresh.x.y=1"],
    ["vars.name='${quantize.type}',plain,'${vars.deep.a}-x'", "quantize.type=A,'${quantize.via}'"],
    ["vars.deep.b=[1,2],[3],[]", "vars.whole={a: 5},text"],
    ["quantize.type=choice(A,B)", "evaluate.n_ctx=range(64,256,64)", "vars.deep.a=range(0,1,0.5)"],
    ["+vars.s=sort(3,1,2)"],
    ["executor=glob(*)", "quantize=glob([*uf,no*])"],
    ["+vars@vars=pair", "vars.right=[1],[2,'${model.source}']"],
    [
        "vars.text=a b c,x:y,http://h/p",
        "model.source=/a/b.c,C:\\\\d",
        "name=int(5),str(5),float(5)",
    ],
    ["quantize.tensor_types={blk.0: A},{blk\\\\..*: B}", "quantize.imatrix=null,a/b.gguf"],
    ["model.revision=1234567,12e3,0x10,1_000,yes,on,null"],
    ["vars.deep.b.0=5,6", "vars.deep.b.2.c=x"],
    ["vars.picked='${oc.env:HOME}'", "vars.relative.up='${..deep.a}',b"],
]


@pytest.mark.parametrize("overrides", SWEEPS, ids=lambda o: " ".join(o)[:60])
def test_a_sweep_equals_each_job_composed_alone(recipe: str, overrides: list[str]) -> None:
    jobs = sweep(recipe, *overrides)
    GlobalHydra.instance().clear()
    expected = [alone(recipe, job) for job in _expanded(recipe, overrides)]
    assert [job.config for job in jobs] == expected
    assert [job.number for job in jobs] == list(range(len(expected)))


def _expanded(recipe: str, overrides: list[str]) -> list[list[str]]:
    """Globs need a loader: they are written out by hand."""
    written = {"glob(*)": "inline,local", "glob([*uf,no*])": "gguf,none"}
    for pattern, choices in written.items():
        overrides = [text.replace(pattern, choices) for text in overrides]
    return products(overrides)


def test_types_survive(recipe: str) -> None:
    (job,) = sweep(recipe, "+vars.t=[1,1.0,true,null,'1',a]")
    assert [type(v) for v in job.config["vars"]["t"]] == [int, float, bool, type(None), str, str]


FIELDS = ["quantize.type", "vars.name", "vars.deep.a", "vars.deep.b", "vars.deep", "evaluate.text"]
VALUES = [
    "1", "x", "null", "true", "[1,{a: b}]", "{a: 1}", "'q, q'", "''", "'${model.source}'",
    "'${quantize}'", "'<${vars.deep.a}>'", "1.5", "'???'",
]  # fmt: skip
NEW = st.tuples(st.sampled_from(["+vars.n", "++vars.deep.n.m", "+n"]), st.sampled_from(VALUES))
CHANGE = st.tuples(st.sampled_from([*FIELDS, "++vars.deep.a"]), st.sampled_from(VALUES))
GROUP = st.sampled_from(["quantize=own", "quantize=none", "evaluate=[none]", "executor=inline"])
DELETE = st.sampled_from(["~vars.deep.a", "~stages.extra", "~vars.whole", "~evaluate"])
OVERRIDE = st.one_of(CHANGE.map("=".join), CHANGE.map("=".join), NEW.map("=".join), GROUP, DELETE)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(jobs=st.lists(st.lists(OVERRIDE, max_size=4), min_size=1, max_size=3))
def test_any_overrides_do_what_they_do_alone(
    recipe: str, composer: Composer, jobs: list[list[str]]
) -> None:
    # One composer for all examples: nothing may leak from job to job, nor from a refused one.
    for job in jobs:
        try:
            outcome: Any = composed(composer.batch([job], [{}], first=0, whole=False)[0]).config
        except RecipeError:
            outcome = "refused"
        assert outcome == _alone_or_refused(recipe, job), job


def _alone_or_refused(recipe: str, job: list[str]) -> Any:
    GlobalHydra.instance().clear()
    try:
        return alone(recipe, job)
    except (HydraException, OmegaConfBaseException, RecursionError, ValueError, TypeError):
        return "refused"


@pytest.mark.slow
def test_a_sweep_over_values_is_composed_by_hydra_once(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sequence[str]] = []
    original = RecipeLoader.load_configuration

    def counted(
        self: RecipeLoader, name: str | None, overrides: list[str], *rest: Any, **more: Any
    ) -> Any:
        calls.append(overrides)
        return original(self, name, overrides, *rest, **more)

    monkeypatch.setattr(RecipeLoader, "load_configuration", counted)
    jobs = sweep(recipe, "evaluate.chunks=range(0,300)", "model.source=/x")
    assert [job.config["evaluate"]["chunks"] for job in jobs] == list(range(300))
    assert calls == [[]]
    calls.clear()
    assert len(sweep(recipe, "evaluate.chunks=range(0,50)", "quantize=gguf,none")) == 100
    assert calls == [[], ["quantize=gguf"], ["quantize=none"]]


def test_jobs_share_no_data(recipe: str) -> None:
    one, two = sweep(recipe, "quantize.type=A,B")
    one.config["vars"]["deep"]["b"].append("mine")
    one.config["stages"]["quantize"]["with"]["type"] = "changed"
    assert two.config["vars"]["deep"]["b"] == [1, 2, {"c": "f16"}]
    assert two.config["vars"]["whole"]["b"] == [1, 2, {"c": "f16"}]
    assert one.config["quantize"]["type"] == "A"


@pytest.mark.parametrize("text", ["${hydra.job.num}", "${hydra:job.num}", "x${hydra:job.num}"])
def test_hydras_own_fields_can_be_referred_to(tmp_path: Path, text: str) -> None:
    recipe = write(
        tmp_path / "h.yaml",
        f"""
        defaults: [config, _self_]
        model: {{source: x}}
        vars: {{number: "{text}", task: "${{hydra:overrides.task}}"}}
        """,
    )
    jobs = sweep(recipe, "quantize.type=A,B", "+vars.n={a: 1}")
    numbers = [str(job.config["vars"]["number"]).lstrip("x") for job in jobs]
    assert numbers == ["0", "1"]
    assert jobs[1].config["vars"]["task"] == ["quantize.type=B", "+vars.n={a: 1}"]
    assert jobs[1].config["vars"]["n"] == {"a": 1}
    assert "hydra" not in jobs[1].config


def test_references_are_told(recipe: str) -> None:
    job = single(recipe)
    assert job.aliases["stages.quantize.with"] == "quantize"
    assert job.aliases["vars.relative.up"] == "vars.name"
    assert "vars.name" not in job.aliases
    assert {"model.source", "quantize", "quantize.via", "evaluate.text"} <= job.used
    assert "vars.text" not in job.used and "not" not in job.used


def test_the_recipes_own_folder_comes_before_the_shipped(tmp_path: Path) -> None:
    write(tmp_path / "executor" / "local.yaml", "# @package _global_\nexecutor: {name: mine}")
    recipe = write(tmp_path / "with space é.yaml", "defaults: [config, _self_]\nmodel: {source: x}")
    assert single(recipe).config["executor"] == {"name": "mine"}
    assert single(recipe, "executor=inline").config["executor"]["name"] == "inline"


@pytest.mark.parametrize("missing", ["", "no base"])
def test_every_way_to_evaluate(tmp_path: Path, missing: str) -> None:
    recipe = write(tmp_path / "r.yaml", "defaults: [config, _self_]\nmodel: {source: x}")
    measured = {"perplexity", "perplexity_reference"}
    for override in ("evaluate=perplexity", "evaluate=[perplexity]", "evaluate=[none,perplexity]"):
        assert measured <= set(single(recipe, override).config["stages"])
    for override in ("evaluate=none", "evaluate=[none]", "evaluate=[]", "~evaluate"):
        assert measured.isdisjoint(single(recipe, override).config["stages"])


def test_every_shipped_recipe_composes() -> None:
    from qpipe.recipe.request import recipe_names

    for name in recipe_names():
        for job in sweep(name, "model.source=x"):
            assert job.config["run"]["reference"] in {None, *job.config["stages"]}
    for job in sweep("local", "model.source=x", "quantize=gguf,none"):
        assert job.config["run"]["reference"] in job.config["stages"]


def test_the_demo_is_a_sweep_by_itself() -> None:
    (jobs,) = batches("demo")
    levels = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q2_K"]
    assert [label(job.varying) for job in jobs] == levels
    assert [job.config["quantize"]["type"] for job in jobs] == levels
    (jobs,) = batches("demo", "quantize.type=Q4_1", "evaluate.chunks=3")
    assert [(label(job.varying), job.config["quantize"]["type"]) for job in jobs] == [("", "Q4_1")]


def test_overrides_reach_jobs_as_written(recipe: str) -> None:
    (job,) = sweep(recipe, "model.revision=12e4567")
    assert job.overrides == ("model.revision=12e4567",)
    assert job.origins.raw("model.revision") == "12e4567"
    assert job.config["model"]["revision"] == float("inf")


def test_a_group_left_open_may_be_filled_by_a_sweep(tmp_path: Path) -> None:
    text = 'defaults: [config, {override quantize: "???"}, _self_]\nmodel: {source: x}'
    recipe = write(tmp_path / "open.yaml", text)
    assert [label(job.varying) for job in sweep(recipe, "quantize=gguf,none")] == ["gguf", "none"]
    with pytest.raises(RecipeError, match=r"quantize is left to you: add quantize=… .*gguf;.*none"):
        single(recipe)


def test_batches_of_a_limited_size(recipe: str) -> None:
    found = batches(recipe, "quantize.type=A,B,C", "hydra.sweeper.max_batch_size=2", multirun=True)
    assert [[label(job.varying) for job in batch] for batch in found] == [["A", "B"], ["C"]]
    assert [[job.number for job in batch] for batch in found] == [[0, 1], [2]]
    assert all(job.witnesses is None for batch in found for job in batch)


@pytest.mark.parametrize("choice", ["hydra/sweeper=basic", "hydra/launcher=basic"])
def test_hydras_basic_plugins_are_replaced(recipe: str, tmp_path: Path, choice: str) -> None:
    assert len(sweep(recipe, choice, "quantize.type=A,B")) == 2
    bare = write(tmp_path / "bare.yaml", "model: {source: x}\nhydra: {mode: MULTIRUN}")
    assert len(batches(bare, "model.source=a,b")[0]) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_sweeper_plugin_gets_the_objectives(recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    losses = {"Q4_0": 3.0, "Q8_0": 1.0, "Q5_0": 2.0}
    labels: list[str] = []

    def handle(jobs: Sequence[Job | InvalidJob]) -> list[float]:
        made = [composed(job) for job in jobs]
        labels.extend(label(job.varying) for job in made)
        return [losses[job.config["quantize"]["type"]] for job in made]

    overrides = (
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.direction=minimize",
        "hydra.sweeper.n_jobs=2",
        "quantize.type=Q4_0,Q8_0,Q5_0",
        "evaluate.chunks=5",
    )
    drive(Request(recipe, overrides, multirun=True), handle, folder=tmp_path)
    assert sorted(labels) == ["Q4_0", "Q5_0", "Q8_0"]
    best = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_params == {"quantize.type": "Q8_0"}
    assert best.best_value == 1.0


@pytest.mark.filterwarnings("ignore")
def test_what_a_sweeper_plugin_refuses(recipe: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with pytest.raises(RecipeError, match=r"(?i)optuna.*direction"):
        batches(recipe, "hydra/sweeper=optuna", "hydra.sweeper.direction=up", multirun=True)


@pytest.mark.parametrize("error", [StageError("no"), ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("multirun", [False, True])
def test_the_handlers_errors_come_through(
    recipe: str, error: BaseException, *, multirun: bool
) -> None:
    def handle(jobs: Sequence[Job | InvalidJob]) -> list[float]:
        raise error

    with pytest.raises(type(error)) as caught:
        drive(Request(recipe, (), multirun), handle)
    assert caught.value is error


def test_the_process_is_left_as_it_was(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    seen: list[tuple[Any, ...]] = []

    def state() -> tuple[Any, ...]:
        files = sorted(str(path) for path in tmp_path.rglob("*"))
        hydra = (GlobalHydra.instance().hydra, HydraConfig.instance().cfg)
        root = logging.getLogger()
        return files, Path.cwd(), dict(os.environ), hydra, list(root.handlers), root.level

    before = state()

    def handle(jobs: Sequence[Job | InvalidJob]) -> list[float]:
        seen.append(state()[:3])
        return [0.0] * len(jobs)

    drive(Request(recipe, ("+hydra.job.env_set.QPIPE_X=1",)), handle)
    drive(Request(recipe, ("quantize.type=A,B", "vars.name='${hydra:job.num}'"), True), handle)
    drive(Request(recipe, (), flags=("--info", "all")), handle)
    with pytest.raises(RecipeError):
        drive(Request(recipe, ("a=b",)), handle)
    assert state() == before
    assert seen == [before[:3]] * 2


def test_flags_are_hydras(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    def show(*flags: str, overrides: tuple[str, ...] = ()) -> str:
        drive(Request(recipe, overrides, flags=flags), lambda jobs: pytest.fail("it ran"))
        return capsys.readouterr().out

    assert OmegaConf.create(show("--cfg", "job", overrides=("quantize.type=Q4_1",))) == (
        OmegaConf.create(_as_hydra_shows(recipe, "quantize.type=Q4_1"))
    )
    package = show("--cfg", "job", "--package", "stages.quantize.with", "--resolve")
    assert "type: Q8_0" in package
    assert "hydra/launcher/qpipe" in show("--info", "defaults")
    assert "Config search path" in show("--info", "all")
    assert "complete -o nospace" in show("--shell-completion", overrides=("install=bash",))
    assert "== Configuration groups ==" in show("--hydra-help")


def _as_hydra_shows(recipe: str, *overrides: str) -> str:
    GlobalHydra.instance().clear()
    file = Path(recipe)
    with initialize_config_dir(config_dir=str(file.parent), version_base="1.3"):
        config = compose(file.stem, [f"hydra.searchpath=[{shipped_recipes()}]", *overrides])
    with open_dict(config):
        config.pop("hydra", None)
    return OmegaConf.to_yaml(config)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("quantize=no", {"quantize=none"}),
        ("quantize=gp", {"quantize=gptq"}),
        ("quantize.ty", {"quantize.type="}),
        ("--json --store /x -m quantize=none quantize.", {"quantize.dtype=", "quantize.via="}),
        ("evaluate=pe", {"evaluate=perplexity"}),
    ],
)
def test_shell_completion(
    recipe: str,
    line: str,
    answer: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMP_LINE", f"qpipe run {recipe} {line}")
    flags = ("--shell-completion",)
    drive(Request(recipe, ("query=bash",), flags=flags), lambda jobs: pytest.fail("it ran"))
    assert set(capsys.readouterr().out.split()) == answer
    assert os.environ["COMP_LINE"].startswith("qpipe run")
