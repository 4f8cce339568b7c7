"""A Go template out of what stands between messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qpipe.export.ollama.go_template import quoted
from qpipe.export.ollama.transitions import END, LAST, START, SYSTEM, Flags, Pieces, Transitions

_LINE = "\0"  # where a line may be broken in the template, and no text is
_YES = {SYSTEM: "$.System", LAST: "eq (len (slice $.Messages $i)) 1"}
_NO = {SYSTEM: "not $.System", LAST: "ne (len (slice $.Messages $i)) 1"}
_ROLES = ("system", "user", "assistant")


def write(transitions: Transitions) -> str:
    """Return the template that puts these texts between messages."""
    roles = [role for role in _ROLES if transitions.into(role)]
    parts = [f'{_LINE}{{{{ $prev := "" }}}}', f"{_LINE}{{{{ range $i, $_ := .Messages }}}}"]
    for n, role in enumerate(roles):
        word = "else if" if n else "if"
        parts.append(f'{_LINE}{{{{ {word} eq .Role "{role}" }}}}')
        parts.append(_by_role(transitions.into(role)) + "{{ .Content }}")
    known = " ".join(quoted(role) for role in roles)
    parts.append(f"{_LINE}{{{{ end }}}}")
    parts.append(f"{_LINE}{{{{ if eq .Role {known} }}}}{{{{ $prev = .Role }}}}{{{{ end }}}}")
    parts.append(f"{_LINE}{{{{ end }}}}")
    ends = {"assistant": {frozenset[str](): ("",)}, **transitions.into(END)}
    parts.append(_LINE + _by_role({role: ends[role] for role in ends if role != START}))
    return _laid_out("".join(parts))


def literal(text: str) -> str:
    """Return a text for a template: what Go or a Modelfile would not keep stands as a string."""
    result = []
    for n, character in enumerate(text):
        before, after = text[max(n - 2, 0) : n], text[n + 1 : n + 3]
        brace = character == "{" and (not after or not _plain(after[0]) or after[0] in '{"')
        quote = character == '"' and (before + after).count('"') > 1
        result.append(_string(character) if brace or quote or not _plain(character) else character)
    return "".join(result)


def _plain(character: str) -> bool:
    return character.isprintable() or character in "\n\t"


def _string(text: str) -> str:
    return f"{{{{ {quoted(text)} }}}}"


def _by_role(texts: Mapping[str, Mapping[Flags, Pieces]]) -> str:
    """The text before a message, by the role before; that of most of them comes last."""
    roles_of: dict[str, list[str]] = {}
    for role, by_flags in texts.items():
        roles_of.setdefault(_by_flags(by_flags), []).append("" if role == START else role)
    *rare, (common, _) = sorted(roles_of.items(), key=lambda item: (len(item[1]), item[0] == ""))
    if not rare:
        return common
    if len(rare) == 1 and not rare[0][0]:
        names = " ".join(map(quoted, sorted(rare[0][1])))
        otherwise = f"ne $prev {names}" if len(rare[0][1]) == 1 else f"not (eq $prev {names})"
        return f"{{{{ if {otherwise} }}}}{common}{{{{ end }}}}"
    words = ["if"] + ["else if"] * (len(rare) - 1)
    parts = [
        f"{{{{ {word} eq $prev {' '.join(map(quoted, sorted(roles)))} }}}}{text}"
        for word, (text, roles) in zip(words, rare, strict=True)
    ]
    return "".join(parts) + (f"{{{{ else }}}}{common}" if common else "") + "{{ end }}"


def _by_flags(texts: Mapping[Flags, Pieces]) -> str:
    """The text of a place, by the flags that hold there."""
    if len(set(texts.values())) == 1:
        return _joined(next(iter(texts.values())))
    for flag in (SYSTEM, LAST):
        yes = {flags: text for flags, text in texts.items() if flag in flags}
        no = {flags: text for flags, text in texts.items() if flag not in flags}
        if yes and no and not _same(yes, no, flag):
            return _choice(flag, _by_flags(yes), _by_flags(no))
    raise AssertionError("two texts for one place")


def _same(yes: Mapping[Flags, Pieces], no: Mapping[Flags, Pieces], flag: str) -> bool:
    return {flags - {flag}: text for flags, text in yes.items()} == dict(no)


def _choice(flag: str, yes: str, no: str) -> str:
    if not yes:
        return f"{{{{ if {_NO[flag]} }}}}{no}{{{{ end }}}}"
    other = f"{{{{ else }}}}{no}" if no else ""
    return f"{{{{ if {_YES[flag]} }}}}{yes}{other}{{{{ end }}}}"


def _joined(pieces: Sequence[str]) -> str:
    return "{{ $.System }}".join(map(literal, pieces))


def _laid_out(marked: str) -> str:
    """Break lines before actions, where a trim marker takes nothing but the break."""
    first, *rest = marked.split(_LINE)
    text = first
    for part in rest:
        breaks = text and not text[-1].isspace() and part.startswith("{{ ")
        text += f"\n{{{{- {part[3:]}" if breaks else part
    return text
