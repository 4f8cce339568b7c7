"""The templates that are written for Ollama: as Go renders them."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from qpipe.export.ollama.go_prompt import prompt
from qpipe.export.ollama.go_template import GoTemplateError, execute
from tests.export.ollama import golden


def test_as_go_renders_them() -> None:
    asked = golden.cases()
    # where templates have changed: python -m tests.export.ollama.golden GO
    assert golden.record(asked, ours(asked)) == json.loads(golden.PROMPTS.read_text())


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("go") is None, reason="go is not on PATH")
def test_as_the_go_that_is_here_does() -> None:
    asked = golden.cases()
    assert golden.go_prompts("go", asked) == ours(asked)


def ours(asked: list[dict[str, Any]]) -> list[str]:
    return [prompt(each["template"], each["messages"], each["system"]) for each in asked]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a {{- 1 -}} b{{ .S }} \n {{- if .No }}x{{ else if .S }}y{{ else }}z{{ end }}", "a1bsy"),
        ("{{ range $i, $x := .L }}{{ $i }}{{ $x }}{{ . }},{{ else }}none{{ end }}", "0aa,1bb,"),
        ("{{ range .No }}x{{ else }}none{{ end }}{{ .No }}", "none<no value>"),
        ('{{ $v := "" }}{{ range .L }}{{ $v = . }}{{ end }}{{ $v }}', "b"),
        ('{{ if and (eq (len (slice $.L 1)) 1) (not (eq .S "t" "u")) }}y{{ end }}', "y"),
        ('{{ if or .No (ne .S "s") (gt 1 2) }}x{{ end }}{{ and .S "t" }}{{ le 1 1 }}', "ttrue"),
        ('{{ "a\\"b\\u00e9{{" }}{{ .M.A }}', 'a"bé{{1'),
    ],
)  # fmt: skip
def test_what_is_known(template: str, text: str) -> None:
    assert execute(template, {"S": "s", "L": ["a", "b"], "M": {"A": 1}}) == text


@pytest.mark.parametrize(
    "template",
    ["{{ if .A }}x", "x{{ end }}", "{{ nothing .A }}", "{{ }}", "{{ (.A }}", "{{ .A .B }}"],
)
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(GoTemplateError):
        execute(template, {"A": "", "B": ""})
