"""Verbs parse, call and print: what they do is in session/, how it looks in files of its own."""

from __future__ import annotations

import importlib
import inspect

import pytest

from qpipe.cli import VERBS

MOST = 60


@pytest.mark.parametrize("module", sorted({module for module, _ in VERBS.values()}))
def test_a_verb_is_a_screenful(module: str) -> None:
    lines = inspect.getsource(importlib.import_module(f"qpipe.commands.{module}")).splitlines()
    assert len(lines) <= MOST
