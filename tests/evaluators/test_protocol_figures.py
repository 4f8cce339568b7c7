"""Protocols beside outside values: lm-eval's own windows and word counts, and the fp32 figures that
came with the fixtures. The papers' loop is in test_papers_loop.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.text.description import scores_of
from qpipe.evaluators.text.protocols import PROTOCOLS, protocol, wikitext_pages
from qpipe.evaluators.text.windows import cut, tokenize
from qpipe.hf.backend import TransformersBackend

DATA = Path(__file__).parent.parent / "data"
MODELS = DATA / "models"
TEXT = (DATA / "texts" / "tinystories_train_head_ascii.txt").read_text()
# As WikiText has them: a space before and after each line.
PAGES = "\n".join(
    f" {line} "
    for line in (
        *("", "= Robert <unk> =", ""),
        "Robert <unk> is an English film , stage and theatre actor . He had a guest @-@ role .",
        *("", "= = Career = =", ""),
        'In 2006 , <unk> starred in the play " Citizenship " ( written by Mark ) with 1 @,@ 000 .',
        *("= Du Fu =", "", "Du Fu 's poems : 5 @.@ 5 of them .", ""),
    )
)


@pytest.mark.parametrize(
    ("model", "n_ctx", "ppl"),
    [
        pytest.param("stories260K", 512, 5.4161, marks=pytest.mark.slow),
        # A letter a token: four times the windows of the other.
        pytest.param("stories-tok105", 256, 2.6498, marks=pytest.mark.soak),
    ],
)
def test_the_fp32_figures_of_the_fixtures(model: str, n_ctx: int, ppl: float) -> None:
    """Per token: windows that do not overlap, BOS in front of each; by other code."""
    changed = replace(
        protocol("llamacpp-512"), n_ctx=n_ctx, scored="all", bos="prepend", text_bos=False
    )
    with TransformersBackend(MODELS / model, threads=2) as backend:
        tokenized = tokenize(TEXT, backend, changed, name="")
        found = scores_of(tokenized, measure(backend, tokenized).nll)
    assert found.value == pytest.approx(ppl, abs=0.0005)


def test_pages_are_lm_evals() -> None:
    from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer

    pages = wikitext_pages(PAGES)
    assert len(pages) == 2
    assert '"Citizenship" (written by Mark) with 1,000' in pages[0].text
    starts = PAGES.index(" = Robert"), PAGES.index(" = Du Fu")
    raw = [PAGES[starts[0] : starts[1] - 1], PAGES[starts[1] :]]
    for page, text in zip(pages, raw, strict=True):
        # The data set's script leaves what stands before the first heading a page of its own,
        # unless that is blank.
        theirs = process_results({"page": text}, (-1.0,))
        assert page.text.strip() == wikitext_detokenizer({"page": text}).strip()
        assert page.words == theirs["word_perplexity"][1]
        assert page.bytes == theirs["bits_per_byte"][1]


@pytest.mark.parametrize("length", [1, 5, 6, 7, 12, 13, 29])
def test_rolling_windows_are_lm_evals(length: int) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    class Numbers:
        bos, prefix = None, 99

        def tokenize(self, text: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
            return np.arange(len(text), dtype=np.int32)

    ours = cut("x" * length, Numbers(), protocol("bytes").with_overrides(n_ctx=6))
    theirs = list(get_rolling_token_windows(list(range(length)), 99, max_seq_len=6, context_len=1))
    assert len(ours.tokens) == len(theirs)
    for index, (given, predicted) in enumerate(theirs):
        first, end = ours.spans[index]
        assert ours.targets(index).tolist() == predicted
        assert ours.tokens[index, :end].tolist() == given
        context, _ = make_disjoint_window((given, predicted))
        assert len(context) == first + 1


def test_each_protocol_says_what_it_is() -> None:
    assert set(PROTOCOLS) == {"llamacpp-512", "gptq-2048", "aqlm-4096", "lm-eval-word", "bytes"}
    for known in PROTOCOLS.values():
        assert (known.unit == "token") == (known.scored != "rolling")
