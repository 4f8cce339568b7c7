from __future__ import annotations

from pathlib import Path

from qpipe.executors.processes import log_end


def test_last_words_are_shown_where_a_backtrace_follows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = "ggml.c:3: GGML_ASSERT(ne % 256 == 0) failed"
    log.write_text("\n".join(["loading", words, *(f"frame {n}" for n in range(40))]))
    shown = log_end(log).splitlines()
    assert shown[1].strip() == words
    assert shown[-1].strip() == "frame 39"
    assert "loading" not in log_end(log)
    log.write_text(f"loading\n{words}\nframe 0\n")
    assert log_end(log).count(words) == 1
