"""Hydra's own flags: --cfg, --info, --shell-completion and --hydra-help."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra

from qpipe.errors import RecipeError
from qpipe.recipe.load.compose import Composer
from qpipe.recipe.load.errors import our_errors
from qpipe.recipe.request import Request

T = TypeVar("T")


def show(request: Request, composer: Composer) -> None:
    """Let Hydra answer the request's flags on stdout. Raises RecipeError."""
    parser = get_args_parser()
    args = _answer(lambda: parser.parse_args(list(request.flags)))
    args.overrides = list(request.overrides)
    hydra = Hydra(task_name="qpipe", config_loader=composer.loader)
    GlobalHydra.instance().hydra = hydra
    name = composer.file.stem
    with our_errors(composer.file), _logging_as_it_was():
        if args.shell_completion:
            with _completed_line(request.recipe):
                hydra.shell_completion(name, args.overrides)
        elif args.hydra_help:
            hydra.hydra_help(name, parser, args)
        elif args.info is not None:
            composer.check()
            _answer(lambda: hydra.show_info(args.info, name, args.overrides))
        elif args.cfg is not None:
            composer.check()
            _answer(
                lambda: hydra.show_cfg(
                    name, args.overrides, args.cfg, args.package, resolve=args.resolve
                )
            )
        else:
            raise RecipeError("--resolve and --package go with --cfg job")


def _answer(call: Callable[[], T]) -> T:
    """Run a part of Hydra that ends the process (1.3) with a line on stderr, which is the error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return call()
    except SystemExit as error:
        lines = said.getvalue().strip().splitlines() or ["Hydra gave up without a word"]
        raise RecipeError(lines[-1].removeprefix(f"{Path(sys.argv[0]).name}: error: ")) from error


@contextlib.contextmanager
def _logging_as_it_was() -> Iterator[None]:
    # --info has Hydra (1.3) put handlers on the root logger, and leave them there.
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]


@contextlib.contextmanager
def _completed_line(recipe: str) -> Iterator[None]:
    """Put the overrides right after the program in COMP_LINE, the shell's line so far: Hydra (1.3)
    expects them there."""
    line = os.environ.get("COMP_LINE", "")
    _, _, after = line.partition(f" {recipe} ")
    *before, last = after.split(" ")
    # Without qpipe's own options and their values.
    words = [word for word in before if "=" in word or word.startswith("~") or word == "-m"]
    os.environ["COMP_LINE"] = " ".join(["qpipe", *words, last])
    try:
        yield
    finally:
        os.environ["COMP_LINE"] = line
