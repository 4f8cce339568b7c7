from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from qpipe.core.events import (
    AFTER_FAILURE,
    FORESEEN,
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Warned,
)
from qpipe.report.live import MANY, Live
from qpipe.report.run_record import Recorder
from tests.report.plans import carry_out, demo, gguf, job, plan


class Terminal(io.StringIO):
    """What a terminal was sent; `screen` is what stands on it in the end."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """A terminal that knows the sequences that a live display needs."""
        lines, row = [""], 0
        for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if token == "\n":
                row += 1
                if row == len(lines):
                    lines.append("")
            elif token == "\r":
                pass
            elif token.endswith("A") and token.startswith("\x1b"):
                row -= int(token[2:-1])
            elif token == "\x1b[2K":
                lines[row] = ""
            elif not token.startswith("\x1b"):
                lines[row] += token
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)


def tell(events: Sequence[Event], stream: io.StringIO, *, quiet: bool = False) -> str:
    live = Live(quiet=quiet, stream=stream)
    for event in events:
        live(event)
    live.close()
    return stream.getvalue()


def story(count: int = 2) -> list[Event]:
    """The first node runs, one waits, one fails, the rest are cached."""
    names = {str(n): f"node{n}" for n in range(count)}
    return [
        RunStarted(names, at=100.0),
        NodeStarted("0", "node0", "k0", "logs/node0.log", at=100.0),
        NodeWaiting("1", "node1", "k1", at=101.0),
        *[NodeProgress("0", "node0", 10 * n, 100, "tokens", at=101.0 + n) for n in range(1, 11)],
        NodeFinished("0", "node0", "ran", key="k0", seconds=12.0, artifact="a", at=112.0),
        Warned("disk nearly full", at=112.0),
        NodeFinished("1", "node1", "failed", error="node1: it broke\n    last line", at=113.0),
        *[NodeFinished(str(n), f"node{n}", "cached", at=113.0) for n in range(2, count)],
        RunFinished("failed", {}, 13.0, at=113.0),
    ]


def test_plain_lines() -> None:
    lines = tell(story(), io.StringIO()).splitlines()
    assert lines[:6] == [
        "start    node0",
        "waiting  node1: another process is making it",
        "ran      node0  12.0 s",
        "warning  disk nearly full",
        "failed   node1: it broke",
        "    last line",
    ]
    assert lines[6].startswith("failed: 2 nodes, 1 ran, 1 failed, ")
    assert lines[7] == "  failed: node1"
    assert lines[8].startswith("  Finished work is kept.")
    assert len(lines) == 9
    assert sum("it broke" in line for line in lines) == 1


def failing_levels(count: int, after: str) -> list[Event]:
    """A level fails that ``count`` nodes need, and two more are skipped for the cause ``after``."""
    needing = [f"kld[{n}]" for n in range(count)]
    others = ["other", "another"]
    names = ["good", "quantize[IQ1_S]", *needing, *others]
    return [
        RunStarted({name: name for name in names}, at=100.0),
        NodeStarted("quantize[IQ1_S]", "quantize[IQ1_S]", "k", "logs/IQ1_S.log", at=100.0),
        NodeFinished("quantize[IQ1_S]", "quantize[IQ1_S]", "failed", error="it broke", at=101.0),
        *[NodeFinished(n, n, "skipped", error="quantize[IQ1_S]", at=101.0) for n in needing],
        NodeFinished("other", "other", "skipped", error=after, at=101.0),
        NodeFinished("good", "good", "ran", seconds=1.0, at=102.0),
        NodeFinished("another", "another", "skipped", error=after, at=102.0),
        RunFinished("failed", {}, 2.0, at=102.0),
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("count", [12, 2 * MANY])
@pytest.mark.parametrize("after", [AFTER_FAILURE, FORESEEN])
def test_a_cause_has_one_line(stream: type[io.StringIO], count: int, after: str) -> None:
    told = stream()
    lines = tell(failing_levels(count, after), told).splitlines()
    if isinstance(told, Terminal):
        lines = told.screen()
    skipped = [line for line in lines if line.startswith("skipped")]
    assert skipped[0] == f"skipped  {count} nodes that needed quantize[IQ1_S]"
    assert skipped[1].startswith("skipped  2 nodes, as nothing ")
    assert len(skipped) == 2
    closing = lines[next(i for i, line in enumerate(lines) if line.startswith("failed: ")) :]
    assert closing[1] == "  failed: quantize[IQ1_S] (log: logs/IQ1_S.log)"
    assert closing[2] == f"  skipped: {count} nodes that needed quantize[IQ1_S]"
    assert closing[3].startswith("  skipped: 2 nodes, as nothing ")
    assert closing[5].startswith("  --keep-going")
    assert len(closing) == 6


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_refused_for_one_reason_has_one_line(stream: type[io.StringIO]) -> None:
    levels = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"]
    stages = [f"{stage}[{level}]" for level in levels for stage in ("quantize", "perplexity")]
    events: list[Event] = [RunStarted({name: name for name in [*stages, "other"]}, at=1.0)]
    for level in levels:
        name, why = f"quantize[{level}]", f"{level} is garbage without an importance matrix"
        events.append(NodeFinished(name, name, "failed", error=why, at=2.0))
        user = f"perplexity[{level}]"
        events.append(NodeFinished(user, user, "skipped", error=name, at=2.0))
    events.append(NodeFinished("other", "other", "skipped", error=FORESEEN, at=2.0))
    events.append(RunFinished("failed", {}, 1.0, at=3.0))
    told = stream()
    lines = tell(events, told).splitlines()
    lines = told.screen() if isinstance(told, Terminal) else lines
    all_four = "quantize[IQ1_S, IQ1_M and 2 others]"
    assert lines[:3] == [
        f"failed   {all_four}: IQ1_S is garbage without an importance matrix",
        f"skipped  4 nodes that needed {all_four}",
        "skipped  1 node, as nothing starts where a failure is foreseen",
    ]
    assert lines[4:7] == [
        f"  failed: {all_four}",
        f"  skipped: 4 nodes that needed {all_four}",
        "  skipped: 1 node, as nothing starts where a failure is foreseen",
    ]
    assert sum("garbage" in line for line in lines) == 1


def test_a_flag_is_named_only_where_it_helps() -> None:
    events = [e for e in failing_levels(3, AFTER_FAILURE) if "other" not in str(e.record())]
    assert "--keep-going" not in tell(events, io.StringIO())


def test_quiet_tells_failures_and_warnings_only() -> None:
    lines = tell(story(), io.StringIO(), quiet=True).splitlines()
    assert lines[0] == "warning  disk nearly full"
    assert lines[1] == "failed   node1: it broke"
    done = [RunStarted({"0": "n"}), NodeFinished("0", "n", "ran"), RunFinished("done", {}, 1.0)]
    assert tell(done, io.StringIO(), quiet=True) == ""


def test_many_nodes_are_counted_not_listed() -> None:
    count = 5 * MANY
    lines = tell(story(count), io.StringIO()).splitlines()
    assert "failed   node1: it broke" in lines
    assert not any("cached " in line and "nodes" not in line for line in lines)
    assert f"{count // 10} of {count} nodes have ended" in lines
    assert len(lines) < 20


def test_the_terminal_ends_with_lines_and_no_region() -> None:
    terminal = Terminal()
    sent = tell(story(), terminal)
    screen = terminal.screen()
    assert "2 of 2 nodes · 0 running" in sent, "the region was drawn"
    assert not any("running" in line for line in screen), "and taken away"
    assert screen[:5] == [
        "waiting  node1: another process is making it",
        "ran      node0  12.0 s",
        "warning  disk nearly full",
        "failed   node1: it broke",
        "    last line",
    ]
    assert screen[5].startswith("failed: 2 nodes")
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h"), "the cursor is shown again"


def test_the_region_shows_what_goes_on() -> None:
    terminal = Terminal()
    live = Live(stream=terminal)
    live(RunStarted({"0": "quantize[Q8_0]", "1": "other"}))
    live(NodeStarted("0", "quantize[Q8_0]", "k"))
    live(NodeProgress("0", "quantize[Q8_0]", 5 << 20, 10 << 20, "bytes"))
    live(NodeWaiting("1", "other", "k"))
    live(Warned("now drawn"))  # a line above redraws the region below
    live.close()
    assert "quantize[Q8_0]" in terminal.getvalue()
    assert "5.00 MiB of 10.0 MiB" in terminal.getvalue()
    assert "to go" in terminal.getvalue()
    assert "0 of 2 nodes · 1 running · 1 waiting for another process" in terminal.getvalue()
    assert terminal.screen() == [
        "waiting  other: another process is making it",
        "warning  now drawn",
    ]


def test_many_active_nodes_fit_the_terminal() -> None:
    terminal = Terminal()
    live = Live(stream=terminal)
    live(RunStarted({str(n): f"node{n}" for n in range(50)}))
    for n in range(50):
        live(NodeStarted(str(n), f"node{n}", "k"))
    live(Warned("now drawn"))
    live.close()
    assert "… and 38 more" in terminal.getvalue()
    assert "node49" not in terminal.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_the_display_is_started(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes through once rich can take back what it did: the cursor is shown again."""
    show = Console.show_cursor

    def interrupted(self: Console, visible: bool = True) -> bool:
        done = show(self, visible)
        signal.raise_signal(number)
        return done

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    monkeypatch.setattr(Console, "show_cursor", interrupted)
    terminal = Terminal()
    live = Live(stream=terminal)
    try:
        with pytest.raises(KeyboardInterrupt):
            live(RunStarted({"0": "n"}))
            live(NodeStarted("0", "n", "k"))
        monkeypatch.setattr(Console, "show_cursor", show)
        live.close()
    finally:
        signal.signal(number, before)
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_a_cached_run_draws_nothing() -> None:
    terminal = Terminal()
    events = [
        RunStarted({"0": "n"}),
        NodeFinished("0", "n", "cached"),
        RunFinished("done", {}, 0.1),
    ]
    tell(events, terminal)
    assert "\x1b[?25l" not in terminal.getvalue()
    assert len(terminal.screen()) == 1


def test_no_color_and_dumb_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    sent = tell(story(), Terminal())
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", sent), "a colour was set"
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in tell(story(), Terminal())


def test_a_real_run_is_told_and_recorded(tmp_path: Path) -> None:
    stream = io.StringIO()
    live, recorder = Live(stream=stream), Recorder(tmp_path / "run" / "events.jsonl")

    def both(event: Event) -> None:
        live(event)
        recorder(event)

    planned = demo()
    result = carry_out(planned, tmp_path / "store", emit=both)
    live.close()
    recorder.close()

    told = stream.getvalue().splitlines()
    assert sum(line.startswith("ran ") for line in told) == result.counts["ran"]
    assert sum(line.startswith("cached ") for line in told) == result.counts["cached"] == 1
    assert told[-1].startswith(f"done: {len(planned.graph)} nodes, ")
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[0]["event"] == "RunStarted"
    assert records[-1]["event"] == "RunFinished"
    ended = [record for record in records if record["event"] == "NodeFinished"]
    assert {record["node"] for record in ended} == set(planned.graph)


def test_a_real_failure_is_told_once(tmp_path: Path) -> None:
    reference = gguf("F16", size=2, bpw=16.0, fails="no such architecture 'abc'")
    small = gguf("Q4_0", size=1, bpw=4.5, source=reference)
    planned = plan(job("", {"convert": reference, "quantize": small}, reference=reference))
    stream = io.StringIO()
    live = Live(stream=stream)
    carry_out(planned, tmp_path, emit=live)
    live.close()
    live.close()
    assert stream.getvalue().count("no such architecture 'abc'") == 1
    assert "skipped  quantize[Q4_0] (because of convert)" in stream.getvalue().splitlines()
    assert stream.getvalue().count("failed: 2 nodes, 1 failed, 1 skipped") == 1
    assert "  Nothing was made. Put right what failed" in stream.getvalue()


def test_progress_is_recorded_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    recorder = Recorder(path)
    for tick in range(100):
        recorder(NodeProgress("0", "n", tick, 100, "bytes", at=1000.0 + tick / 10))
    recorder.close()
    assert [json.loads(line)["done"] for line in path.read_text().splitlines()] == [0, 50]


def test_a_full_disk_does_not_end_the_run() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    recorder = Recorder(full)
    for _ in range(3):
        recorder(Warned("x"))
    assert (recorder.close() or "").startswith("/dev/full is incomplete: ")
