"""What several nodes have in common, in one line: ``quantize[Q4_0, Q8_0 and 3 others]: why``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Names that are written out; of more, the rest is counted.
_SHOWN = 2


def listed(names: Sequence[str]) -> str:
    """Return a list of names in words, the first two and the number of the others."""
    if len(names) <= _SHOWN + 1:
        return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} others"


def nodes(names: Sequence[str]) -> str:
    """Return names of nodes in words; those of one stage share its name, and those of one model
    that: ``quantize[tiny Q4_0, Q8_0 and 3 others]``."""
    stages = {name.partition("[")[0] for name in names}
    if len(names) == 1 or len(stages) > 1 or not all(name.endswith("]") for name in names):
        return listed(names)
    words = [_level(name).split(" ") for name in names]
    shared = 0
    while all(len(each) > shared + 1 and each[shared] == words[0][shared] for each in words):
        shared += 1
    listing = listed([" ".join(each[shared:]) for each in words])
    return f"{stages.pop()}[{' '.join([*words[0][:shared], listing])}]"


def grouped(reasons: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Group names, each with a reason, by reasons that are the same but for the name in them.

    Returns the names of each group and the reason of its first, in the order of the first names.
    """
    groups: dict[tuple[str, str], tuple[list[str], str]] = {}
    for name, reason in reasons:
        own = reason.removeprefix(f"{name}: ")
        key = name.partition("[")[0] if "[" in name else "", _nameless(own, name)
        names, _ = groups.setdefault(key, ([], own))
        names.append(name)
    return [*groups.values()]


def _level(name: str) -> str:
    """The part of a node's name in brackets, else the name."""
    return name.partition("[")[2][:-1] or name


def _nameless(reason: str, name: str) -> str:
    """A reason without the words of a name."""
    words = [name, _level(name), *re.split(r"[\s,/]+", _level(name))]
    any_word = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True) if word)
    return re.sub(rf"(?<![\w.-])(?:{any_word})(?![\w-])", "…", reason)
