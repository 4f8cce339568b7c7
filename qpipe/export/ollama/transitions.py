"""What a chat template puts between the messages of a conversation, found by asking it.

Messages with contents that occur nowhere else are rendered, and what stands between two contents is
what belongs between two such roles. It may hang on whether there is a system message, and on
whether the message that follows is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qpipe.export.ollama.go_prompt import Conversation

START, END = "start", "end"
SYSTEM, LAST = "system", "last"

Render = Callable[[Conversation], str | None]
"""The prompt of a conversation, ready for an answer; None if the template refuses it."""
Flags = frozenset[str]
"""Of a place: `SYSTEM`, if there is a system message; `LAST`, if the last message follows."""
Pieces = tuple[str, ...]
"""Text; where it is more than one, the system message stands between each two."""

_ALWAYS = ("u", "uau", "uauau", "su", "suau", "suauau")
_WITHIN = ("uasu", "suasu")
_SELDOM = ("au", "sau", "us")
_BEGUN = ("ua", "sua", "uaua")
_ROLES = {"s": "system", "u": "user", "a": "assistant"}
_HEAD = "Kq0system0qK"


@dataclass
class Transitions:
    """Text by (role before, role after) and flags.

    ``within``: a system message is one among the others, wherever it stands. Else all system
    messages are one text, which the pieces say where to put.
    """

    within: bool
    texts: dict[tuple[str, str], dict[Flags, Pieces]] = field(default_factory=dict)

    def add(self, steps: Sequence[tuple[str, str, Flags, Pieces]]) -> bool:
        """Take the texts of a conversation, unless it contradicts what is known."""
        known = [self.texts.get(step[:2], {}).get(step[2], step[3]) for step in steps]
        if any(text != step[3] for text, step in zip(known, steps, strict=True)):
            return False
        for before, after, flags, pieces in steps:
            self.texts.setdefault((before, after), {})[flags] = pieces
        return True

    def into(self, after: str) -> Mapping[str, Mapping[Flags, Pieces]]:
        """Return the texts before a role, by the role before that."""
        return {one: texts for (one, two), texts in self.texts.items() if two == after}


def conversation(roles: str) -> list[dict[str, str]]:
    """Return messages for letters, each with a content of its own."""
    return [
        {"role": _ROLES[letter], "content": f"Kq{n}{_ROLES[letter]}{n}qK"}
        for n, letter in enumerate(roles)
    ]


def readings(render: Render, render_open: Render) -> Iterator[Transitions]:
    """Yield the ways to understand a template, the plainest first; none if it shows no order.

    ``render_open`` leaves the last message open, to be gone on with.
    """
    for within in (True, False):
        found = Transitions(within)
        needed = (*_ALWAYS, *_WITHIN) if within else _ALWAYS
        seen = [_steps(render, roles, within=within) for roles in needed]
        known = [steps for roles, steps in zip(needed, seen, strict=True) if steps is not None]
        refused = [roles for roles in needed if render(conversation(roles)) is None]
        if len(known) + (0 if within else len(refused)) < len(needed) or not known:
            continue
        if not all(found.add(steps) for steps in known):
            continue
        for roles in _SELDOM if within else _SELDOM[:1]:
            found.add(_steps(render, roles, within=within) or [])
        for roles in _BEGUN:
            found.add((_steps(render_open, roles, within=within) or [])[:-1])
        yield found


def _steps(
    render: Render, roles: str, *, within: bool
) -> list[tuple[str, str, Flags, Pieces]] | None:
    """The texts between the messages of one conversation; None if they cannot be told apart."""
    messages = conversation(roles)
    text = render(messages)
    if text is None:
        return None
    head = messages[0]["content"] if roles[0] == "s" and not within else None
    shown = messages if head is None else messages[1:]
    steps = []
    before = START
    for n, message in enumerate([*shown, {"role": END, "content": ""}]):
        content = message["content"]
        if content and text.count(content) != 1:
            return None
        gap, text = text.split(content, 1) if content else (text, "")
        last = n == len(shown) - 1
        flags = frozenset(name for name, on in ((SYSTEM, head), (LAST, last)) if on)
        steps.append((before, message["role"], flags, tuple(gap.split(head) if head else [gap])))
        before = message["role"]
    return steps
