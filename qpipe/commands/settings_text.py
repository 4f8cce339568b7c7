"""The settings of recipes as text for a terminal, and as Markdown pages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe.recipe.settings import Group, Setting

WIDTH = 100
_LONGEST_DEFAULT = 20
_PAGES = {
    "recipe": ("The blocks of a recipe", "`qpipe settings model`"),
    "quantize": ("Settings of the methods", "`qpipe settings quantize`"),
    "evaluate": ("Settings of the measurements", "`qpipe settings evaluate`"),
    "stage": ("Parameters of stages", "`qpipe settings stage`"),
}


def overview(groups: Iterable[Group]) -> str:
    """Return a line for each group."""
    lines = [f"{group.name:<24}{group.about}" for group in groups]
    folded = [
        line for text in lines for line in textwrap.wrap(text, WIDTH, subsequent_indent=" " * 24)
    ]
    return "\n".join([*folded, "", "qpipe settings GROUP says more, as in: qpipe settings gptq"])


def described(group: Group) -> str:
    """Return a line or a few for each setting of a group."""
    names = max(len(setting.name) for setting in group.settings)
    defaults = max(len(_default(setting)) for setting in group.settings)
    lines = textwrap.wrap(f"{group.name}: {group.about}", WIDTH)
    at = names + defaults + 6
    for setting in group.settings:
        first, *rest = textwrap.wrap(_words(setting), WIDTH - at, break_on_hyphens=False)
        lines.append(f"  {setting.name:<{names}}  {_default(setting):<{defaults}}  {first}")
        lines += [" " * at + line for line in rest]
    return "\n".join(lines)


def _default(setting: Setting) -> str:
    """The default as a cell: a dash for one that has to be given, dots for one that is long."""
    return "…" if len(setting.default) > _LONGEST_DEFAULT else setting.default or "–"


def _words(setting: Setting) -> str:
    long = f" Default: {setting.default}." if _default(setting) == "…" else ""
    needed = " Has to be given." if not setting.default else ""
    return f"{setting.about} [{setting.values}]{long}{needed}".lstrip()


def pages(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Yield each page of the reference: its file's name and its Markdown."""
    for name, (title, verb) in _PAGES.items():
        page = [f"# {title}", "", f"Written by `qpipe settings -o`; the same as {verb} says.", ""]
        for group in groups:
            if (group.name.split("=")[0] if "=" in group.name else "recipe") == name:
                page += [f"## {group.name}", group.about, "", *_rows(group), ""]
        yield f"{name}.md", "\n".join(page[:-1]) + "\n"


def _rows(group: Group) -> list[str]:
    rows = [
        f"| `{setting.name}` | {_cell(setting.default) or 'has to be given'} "
        f"| {setting.values} | {setting.about} |"
        for setting in group.settings
    ]
    return ["| setting | default | values | |", "|---|---|---|---|", *map(_escaped, rows)]


def _cell(default: str) -> str:
    return f"`{default}`" if default else ""


def _escaped(row: str) -> str:
    return row.replace("*.yaml", "`*.yaml`")
