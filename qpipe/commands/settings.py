"""`qpipe settings [GROUP]`: what a recipe may say, with values, defaults and a word on each."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json
from qpipe.errors import StoreError, UsageError, nearest

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


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``[GROUP]``, ``-o``, ``--json``."""
    parser.add_argument(
        "group",
        metavar="GROUP",
        nargs="?",
        help="a block (model, run), a choice (quantize=gptq, or gptq), all choices (evaluate), or "
        "a setting (quantize.bits); none: the list of groups",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="write all of it as Markdown pages into this folder"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Answer. Raises UsageError for a group that is not there, StoreError for a folder that cannot
    be written."""
    from qpipe.recipe.settings import groups

    known = groups()
    if args.output is not None:
        _write(Path(args.output), known)
        return 0
    chosen = known if args.group is None else _chosen(args.group, known)
    if args.json:
        print_json({"schema": 1, "groups": [dataclasses.asdict(group) for group in chosen]})
    elif args.group is None:
        print(_list(known))
    else:
        print("\n\n".join(_text(group) for group in chosen))
    return 0


def _chosen(name: str, known: Sequence[Group]) -> list[Group]:
    found = [g for g in known if name in (g.name, *g.name.split("="))]
    if found:
        return found
    for group in known:
        settings = tuple(setting for setting in group.settings if setting.name == name)
        found += [dataclasses.replace(group, settings=settings)] if settings else []
    if not found:
        names = {part for group in known for part in (group.name, *group.name.split("="))}
        dotted = {setting.name for group in known for setting in group.settings}
        raise UsageError(f"settings: there is no {name!r}; {nearest(name, names | dotted)}")
    return found


def _list(known: Iterable[Group]) -> str:
    lines = [f"{group.name:<24}{group.about}" for group in known]
    folded = [
        line for text in lines for line in textwrap.wrap(text, WIDTH, subsequent_indent=" " * 24)
    ]
    return "\n".join([*folded, "", "qpipe settings GROUP says more, as in: qpipe settings gptq"])


def _text(group: Group) -> str:
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


def _write(folder: Path, known: Sequence[Group]) -> None:
    for name, (title, verb) in _PAGES.items():
        page = [f"# {title}", "", f"Written by `qpipe settings -o`; the same as {verb} says.", ""]
        for group in known:
            if (group.name.split("=")[0] if "=" in group.name else "recipe") == name:
                page += [f"## {group.name}", group.about, "", *_rows(group), ""]
        try:
            (folder / f"{name}.md").write_text("\n".join(page[:-1]) + "\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written to ({error.strerror})") from None
    print(f"written to {folder}", file=sys.stderr)


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
