"""Words that somebody else may choose, and that mean something to what shows them."""

from __future__ import annotations

from hypothesis import strategies as st

# Harmless each: what counts is that none of them is read as more than words.
FRAGMENTS = (
    *("<b>", "</td>", "</script>", "<!--", "&lt;", "&#60;", '" x="', "' x='", "<img src=x>"),
    *(
        "|",
        "\\|",
        "`",
        "``",
        "*a*",
        "_a_",
        "~~a~~",
        "# ",
        "- ",
        "1. ",
        "> ",
        "[a](b)",
        "![a](b)",
        "*a",
    ),
    *("[a]: b", "<https://a.example>", "\n", "\n\n", "\r\n", "\t", "---", "===", "\\", "    "),
    *(
        "=1+1",
        "+1",
        "-1",
        "@x",
        "%s",
        "{0}",
        "{{ x }}",
        "${x}",
        '"""',
        "'''",
        "!x",
        "&a",
        "*a",
        "?",
    ),
    *("\x1b[2J", "\x1b]0;x\x07", "\x9b31m", "\u202e", "\u2066", "\u200b", "\ufeff", "\0", "\x7f"),
    *("\ud800", "é", "日本", "😀", "a" * 200),
)

words = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), min_size=1, max_size=5).map(
    "".join
)
