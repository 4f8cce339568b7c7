"""Prompts as Go's own text/template makes them of our templates: `python -m
tests.export.ollama.golden` writes them to go/prompts.json, and needs `go`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpipe.export.ollama.chat_template import go_template
from qpipe.hf.chat import Template
from tests.export.ollama.families import FAMILIES

FOLDER = Path(__file__).parent / "go"
PROMPTS = FOLDER / "prompts.json"
TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>"}

_CONVERSATIONS = {
    "u": "hi",
    "su": "be brief|hi {{ .Content }}",
    "uau": "hi|hello|who?",
    "suau": "be brief|hi| hello |who?\n",
    "suauau": "a|b|c|d|e|f",
    "ua": "hi|I am",
    "uasu": "hi|hello|be brief|who?",
    "ssuua": "a|b|c|d|e",
    "au": "hi|hello",
    "uta": "hi|from a tool|hello",
}
_ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def cases() -> list[dict[str, Any]]:
    """Every family's Go template with every conversation, with its system message and without."""
    result = []
    for text in FAMILIES.values():
        made = go_template(Template(text, TOKENS), bos="<bos>")
        for roles, contents in _CONVERSATIONS.items():
            messages = [
                {"role": _ROLES[role], "content": content}
                for role, content in zip(roles, contents.split("|"), strict=True)
            ]
            for system in sorted({"", made.system}):
                result.append({"template": made.text, "system": system, "messages": messages})
    return result


def go_prompts(go: str | Path, asked: Sequence[dict[str, Any]]) -> list[str]:
    """What Go makes of them."""
    answer = subprocess.run(
        [go, "run", FOLDER / "main.go"],
        input="".join(json.dumps(each) + "\n" for each in asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def record(asked: Sequence[dict[str, Any]], prompts: Sequence[str]) -> dict[str, list[list[str]]]:
    """Prompts by template, each with the system message and the roles that were asked for."""
    result: dict[str, list[list[str]]] = {}
    for each, prompt in zip(asked, prompts, strict=True):
        roles = "".join(message["role"][0] for message in each["messages"])
        result.setdefault(each["template"], []).append([each["system"], roles, prompt])
    return result


if __name__ == "__main__":
    asked = cases()
    by_go = record(asked, go_prompts(sys.argv[1], asked))
    PROMPTS.write_text(json.dumps(by_go, ensure_ascii=False, indent=0) + "\n")
