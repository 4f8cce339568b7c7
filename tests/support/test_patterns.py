"""Matching in linear time means what `re` means, and ends where `re` does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.support.patterns import matches

NAME = "model.layers.18.mlp.gate_proj"


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.18\..*gate.*", r".*\.1\..*gate.*", r"model\.layers\.(?:1[0-9]|2\d)\.", r"layers",
        r"^model.*proj$", r"^model.*pro$", r".*(?:up|gate)_proj\b", r"(?!.*up_proj).*mlp", "",
        r"(?=.*gate)model", r"(?!model)", r"\w+\.\w+\.\d{2}\.[^.]*\.\D+\Z", r"\w{40}", r"(a|m)?",
        r"(?P<x>mod)el", r".*?proj", r"[\w.]+", r"[^\W\d]+$", r"(model|layers|\.|\d+|mlp)*gate",
    ],
)  # fmt: skip
def test_rules_of_checkpoints(pattern: str) -> None:
    assert matches(pattern, NAME) == (re.match(pattern, NAME) is not None)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*)*b", "(a|aa)+$b", "((a?){30}){30}b", ".*.*.*.*.*.*.*b"],
)
def test_what_would_not_end(pattern: str) -> None:
    assert not matches(pattern, "a" * 500)
    assert matches(pattern.replace("$", ""), "a" * 500 + "b")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(a)\1", "groupref has no place"),
        (r"(?<=a)b", "assert has no place"),
        (r"(?i)a", "flags have no place"),
        (r"(?i:a)", "flags have no place"),
        (r"[a", "unterminated character set"),
        ("(" * 900, "missing|nested too deeply|unterminated"),
        ("a" * 1001, "longer than 1000"),
        ("(?:" * 8 + "a?" + "){99}" * 8, "too long to match"),
        ("a{99999999999999999999}", "nested too deeply|too large"),
    ],
)
def test_what_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        matches(pattern, "aab")


def alternatives(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("(?:{}|{})".format, parts, parts),
        st.builds("(?:{}){}".format, parts, st.sampled_from(["?", "{2}", "{0,2}", "{1,}", "*?"])),
        st.builds("{}{}".format, parts, parts),
        st.builds("(?={}){}".format, parts, parts),
        st.builds("(?!{}){}".format, parts, parts),
    )


ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", r"\.", "^", "$", r"\b", r"\B", ""]
)
PATTERNS = st.recursive(ATOMS, alternatives, max_leaves=8)


@given(PATTERNS, st.text("ab.1\n", max_size=8))
def test_it_means_what_re_means(pattern: str, text: str) -> None:
    assert matches(pattern, text) == (re.match(pattern, text) is not None)
