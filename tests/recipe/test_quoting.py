"""Values with other characters than Hydra's grammar reads need no quotes; others stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe.recipe.load.quoting import quoted
from tests.cli import called

MODEL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


def value(text: str) -> object:
    return OverridesParser.create().parse_override(text).value()


@pytest.mark.parametrize(
    "text",
    [
        "故事模型",
        "/data/模型/v1.5",
        "~/models/x",
        "a~b",
        "/data/model (v2)",
        "(x)",
        "lr=1e-4/model",
        "#1",
        "a&b;c!d",
        "é",
        "a:ü",
        "x ü",
        "50%·2",
    ],
)
def test_a_value_is_what_was_written(text: str) -> None:
    (override,) = quoted([f"model.source={text}"]).texts
    assert value(override) == text
    assert quoted([f"++a.b={text}"]).texts == (f'++a.b="{text}"',)


@pytest.mark.parametrize(
    "text",
    [
        *("a=1", "a=", "a=x y", "a=a+b@c.d|e?f*g%h", "a=x,y", "a='故事'", 'a="故,事"', "a=[1,2]"),
        *("a={b:1}", "a=${b}", "a=choice(1,2)", r"a=\(x\)", "~a", "~a=b", "+a=null", "a=1,2.5,x"),
        # What is wrong for another reason, and is said to be.
        *(
            "a=[故",
            "a='故",
            "a=chioce(1,故)",
            "a={故: 1}",
            "a=故\\ 事",
            "a==故",
            "a",
            "=故",
            "键=x",
        ),
        *("a=${故", "a=故,,", "a=x,[故]", "a=a(b)"),
    ],
)
def test_others_stay_as_they_are(text: str) -> None:
    assert quoted([text]).texts == (text,)


def test_each_of_several_values_is_quoted_by_itself() -> None:
    overrides = quoted(["a=故事, b ,3,~x"])
    assert overrides.texts == ('a="故事", b ,3,"~x"',)
    assert value(*overrides.texts).list[1:3] == ["b", 3]  # type: ignore[attr-defined]
    assert overrides.as_given('the override a="故事"') == "the override a=故事"


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12))
def test_quoting_never_changes_what_is_read(text: str) -> None:
    override = f"a={text}"
    (tried,) = quoted([override]).texts
    if tried != override:
        with pytest.raises(Exception, match=r"."):
            value(override)
        read = value(tried)
        assert [text.strip()] == [read] or "," in text


def test_paths_of_users_work_in_plan_graph_and_sweeps(tmp_path: Path) -> None:
    for name in ("故事模型", "m+v@2~x (1)"):
        shutil.copytree(MODEL, tmp_path / name)
    words = ("local", "evaluate=none", "quantize.type=Q8_0")
    for verb in ("graph", "plan"):
        answer = called(verb, *words, "model.source=故事模型", cwd=tmp_path)
        assert answer.code == 0, answer.stderr
        assert "故事模型" in answer.stdout
    sweep = called("plan", *words, "-m", "model.source=故事模型,./m+v@2~x (1)", cwd=tmp_path)
    assert sweep.code == 0, sweep.stderr
    assert "download: 故事模型, m+v@2~x (1)" in sweep.stdout, "of the same bytes"


def test_errors_show_what_was_written(tmp_path: Path) -> None:
    wrong = called("plan", "local", "model.source=不在", cwd=tmp_path)
    assert wrong.stderr.startswith("qpipe: 不在: no such file or folder")
    typed = called("plan", "local", "model.source=x", "quantize.pure=是", cwd=tmp_path)
    assert "quantize.pure (the override 'quantize.pure=是')" in typed.stderr
    swept = called("plan", "local", "model.source=x", "quantize.pure=是,否", cwd=tmp_path)
    assert "'quantize.pure=是,否'" in swept.stderr
    both = called("plan", "local", "-m", "model.source=x", "quantize.pure=是,否", cwd=tmp_path)
    assert both.code == 2
    assert "quantize.pure=是" in both.stderr
    assert '"是"' not in both.stderr
