"""Chat templates: as transformers renders them, on a day that is given, and with an end."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import DataError
from qpipe.hf import sandbox
from qpipe.hf.chat import DATE, Template, is_day

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": " hello "},
    {"role": "assistant", "content": "hi "},
]
TEMPLATE = """{{- bos_token -}}
{%- macro shown(message, tag='') %}[{{ message.role ~ tag }}]{{ message['content'] | trim }}{% endmacro %}
{%- set ns = namespace(last=none) %}
{%- for message in messages if message.role != 'tool' %}
    {%- set ns.last = message.role %}
    {{- shown(message, tag='!' if loop.last) }}
    {%- if message.tool_calls %}{{ message.tool_calls | tojson(indent=1) }}{% endif %}
    {%- generation %}{{ eos_token }}{% endgeneration %}
    {%- if loop.index > 50 %}{% break %}{% endif %}
{% endfor %}
{%- if tools is not none %}{{ tools | tojson }}{% endif %}
{%- if add_generation_prompt %}[assistant]{{ '%03d' % (messages | length * 2) }}{% endif %}
"""  # noqa: E501


def rendered(template: str, **given: Any) -> str:
    return Template(template, TOKENS).render(MESSAGES, **given)


def transformers(template: str, messages: list[dict[str, Any]], **given: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    found: Any = render_jinja_template([messages], chat_template=template, **given)
    return str(found[0][0])


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("tools", [None, [{"name": "f", "é": 1}]])
def test_as_transformers_does(prompt: bool, tools: list[Any] | None) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    messages: list[dict[str, Any]] = [*MESSAGES, call]
    theirs = transformers(TEMPLATE, messages, tools=tools, add_generation_prompt=prompt, **TOKENS)
    ours = Template(TEMPLATE, TOKENS).render(messages, tools=tools, add_generation_prompt=prompt)
    assert ours == theirs
    assert "[system]be brief</s>" in ours


@pytest.mark.parametrize("how", ["message.content", "message.content | trim"])
def test_a_last_message_left_open(how: str) -> None:
    template = "{% for message in messages %}[x]{{ " + how + " }}</s>{% endfor %}"
    for last in ("hi ", "hi", "", "[x]"):
        messages = [*MESSAGES[:2], {"role": "assistant", "content": last}]
        ours = Template(template, TOKENS).render_open(messages)
        assert ours == transformers(template, messages, continue_final_message=True)


def test_the_day_is_the_one_given() -> None:
    template = "{{ strftime_now('%d %b %Y') }}"
    assert rendered(template) == "26 Jul 2024"
    assert Template(template, TOKENS, "2031-02-03").render(MESSAGES) == "03 Feb 2031"
    assert is_day(DATE) == DATE
    with pytest.raises(ValueError, match=r"'tomorrow' is no day"):
        is_day("tomorrow")


def test_a_system_message_that_is_refused_is_left_out() -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    assert rendered(template) == " hello "
    with pytest.raises(DataError, match=r"no user.*set evaluate.chat_template to false"):
        rendered("{{ raise_exception('no user') }}")


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ messages.none.there }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + none }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_what_fails_is_said_to_be_the_templates_fault(template: str) -> None:
    with pytest.raises(DataError, match="the model's chat template cannot be used"):
        rendered(template)


LOOP = "{% for x in range(99999) %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOP + LOOP + LOOP + "{% endfor %}" * 3,
        LOOP + "{% for y in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}"
        + LOOP + LOOP + "{% call f() %}x{% endcall %}{% endfor %}{% endfor %}",
    ],
)  # fmt: skip
def test_what_does_not_end_is_stopped(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "STEPS", 10_000)
    with pytest.raises(DataError, match="it does not end: stopped after 10,000 steps"):
        rendered(template)


DOUBLED = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = X %}{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [
        DOUBLED.replace("X", "ns.x ~ ns.x"),
        DOUBLED.replace("X", "ns.x + ns.x"),
        DOUBLED.replace("X", "ns.x.replace('a', 'aaa')"),
        DOUBLED.replace("X", "ns.x | replace('a', 'aaa')"),
        "{{ 'a' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ '%1000000000d' % 3 }}",
        "{{ '{:1000000000}'.format(3) }}",
        "{{ [] | slice(10 ** 9) | list }}",
    ],
)
def test_what_grows_without_bounds_is_stopped(template: str) -> None:
    with pytest.raises(DataError, match="more than 10,000,000"):
        rendered(template)


def test_the_steps_are_those_of_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "STEPS", 10)
    chat = Template("{% for m in messages %}{{ m.role }}{% endfor %}", TOKENS)
    assert {chat.render(MESSAGES) for _ in range(20)} == {"systemuserassistant"}
