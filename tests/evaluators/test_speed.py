"""Speed: what is counted, in which order, by what; and what cannot be asked for."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from qpipe.errors import CheckpointError, DataError, EngineMissingError
from qpipe.evaluators.speed import CheckpointSpeedParams, Speed, SpeedParams
from qpipe.evaluators.speed_rounds.rounds import (
    LlamaBench,
    Probe,
    SpeedTarget,
    figure,
    ratio,
    take_turns,
)
from qpipe.evaluators.speed_rounds.settings import Memory, Sample, SpeedSettings
from qpipe.machine.identity import identity
from qpipe.stages.base import Work

INSIDE: Literal["in-process"] = "in-process"
Gguf = Callable[[str, str], Path]


def settings(**more: Any) -> SpeedSettings:
    given = {"n_prompt": 24, "n_gen": 4, "batch_size": 1, "threads": 1, **more}
    return SpeedSettings(type_k="f16", type_v="f16", flash_attention="auto", **given)


class Clock(SpeedTarget):
    """Gets slower with every measurement, its own or another's."""

    version = "clock"
    log: list[str]

    def __init__(self, name: str, log: list[str], speed: float) -> None:
        self.name, self.log, self.speed = name, log, speed

    def measure(self) -> Sample:
        self.log.append(self.name)
        now = self.speed / (1 + len(self.log) // 2)
        return Sample(pp=now, tg=10 * now, ttft=1 / now)

    def finish(self) -> Memory:
        return Memory(rss=None, vram=None)

    def close(self) -> None: ...


def test_rounds_take_turns_and_ratios_hold_on_a_slowing_machine() -> None:
    log: list[str] = []
    seen: list[tuple[int, int]] = []
    subjects = [Clock("a", log, 300.0), Clock("b", log, 100.0)]
    one, other = take_turns(
        subjects, warmup=1, repeats=3, progress=lambda done, total: seen.append((done, total))
    )
    assert log == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert (len(one), len(other)) == (3, 3)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert ratio(one, other, "pp") == pytest.approx(3.0, rel=0.35)
    assert figure(one, "pp").iqr > 0


def test_statistics_by_hand() -> None:
    samples = [Sample(pp=value, tg=1.0, ttft=0.5) for value in (1.0, 2.0, 3.0, 4.0, 10.0)]
    found = figure(samples, "pp")
    assert (found.median, found.iqr) == (3.0, 2.0)
    assert figure(samples[:1], "pp") == figure([samples[0]], "pp")
    assert figure(samples[:1], "pp").iqr == 0.0
    doubled = [Sample(pp=2 * sample.pp, tg=1.0, ttft=0.5) for sample in samples]
    assert ratio(doubled, samples, "pp") == 2.0


def test_a_probe_measures_and_tells_its_own_memory(gguf_of: Gguf) -> None:
    probe = Probe(gguf_of("stories260K", "F32"), settings(batch_size=3), backend="llama.cpp")
    try:
        sample = probe.measure()
        memory = probe.finish()
    finally:
        probe.close()
    assert sample.pp > 0
    assert sample.tg > 0
    assert sample.pp == pytest.approx(3 * 24 / sample.ttft)
    assert memory.rss is not None
    assert 5e6 < memory.rss < 1e9
    assert memory.vram is None
    assert "llama.cpp" in probe.version


def test_what_a_model_raises_in_its_process_comes_back(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF nonsense")
    with pytest.raises(CheckpointError, match=r"cannot load .*bad\.gguf"):
        Probe(bad, settings(), backend="llama.cpp")


def work(tmp_path: Path, **inputs: Path) -> Work:
    folders = {}
    for role, file in inputs.items():
        folders[role] = tmp_path / role
        folders[role].mkdir()
        (folders[role] / file.name).symlink_to(file)
    out = tmp_path / "out"
    out.mkdir()
    return Work(folders, out, 1, lambda done, total, unit: None, {})


def test_a_model_beside_its_reference(gguf_of: Gguf, tmp_path: Path) -> None:
    params = SpeedParams(
        n_prompt=24, n_gen=4, repeats=2, threads=1, type_v="q8_0", tool="in-process"
    )
    # A quantized cache wants heads of a multiple of 32.
    model, reference = (gguf_of("tinystories-d256", level) for level in ("Q8_0", "F16"))
    given = work(tmp_path, model=model, reference=reference)
    measured = Speed().run(params, given)
    scores = {score.name: score for score in measured.scores}
    for name in ("pp", "tg", "ttft"):
        score = scores[name]
        assert score.value > 0
        assert score.iqr is not None and score.iqr >= 0
        assert score.ratio is not None and 0.02 < score.ratio < 50
        assert score.base is not None and score.base > 0
    memory = scores["peak_rss"]
    assert memory.value > 5e6
    assert memory.ratio is not None and 0.5 < memory.ratio < 2
    assert measured.protocol == "llama.cpp pp24 tg4 threads=1 type_v=q8_0"
    result = json.loads((given.out / "result.json").read_bytes())
    # All are of the same rounds.
    theirs = [one["pp"] for one in result["rounds"]["reference"]]
    assert scores["pp"].base == pytest.approx(sum(theirs) / 2)
    assert {"start", "end", "others"} == result["load"].keys()
    told = {name for name, value in result["load"].items() if value is not None}
    named = {"start": "load_start", "end": "load_end", "others": "others_cpu_pct"}
    assert {named[name] for name in told} == scores.keys() & {*named.values()}


def test_the_machine_and_the_threads_are_in_the_key() -> None:
    params = SpeedParams(threads=3, tool="in-process")
    known = Speed.fingerprint(params)
    assert known["machine"] == identity()
    assert known["threads"] == 3
    assert known["name"] == "llama.cpp"
    # Nothing else may run beside it.
    assert Speed.resources(params, cores=7).cpus == 7


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type_v": "q8_0", "flash_attention": "off"}, "only with flash attention"),
        ({"type_v": "q4_0", "flash_attention": False}, "only with flash attention"),
        ({"type_k": "q3_k"}, "'q5_1'"),
        ({"tool": "llama-bench", "batch_size": 2}, "one sequence at a time"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"repeats": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SpeedParams(**given)


def test_quantized_keys_need_no_flash_attention() -> None:
    assert SpeedParams(type_k="q8_0", flash_attention="off").kv["type_k"] == "q8_0"


def test_transformers_has_no_such_cache() -> None:
    with pytest.raises(ValidationError, match="are llama"):
        CheckpointSpeedParams(type_k="q8_0")


# -- llama-bench ----------------------------------------------------------------------------------


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A llama-bench on PATH that does ``body``."""
    program = folder / "llama-bench"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


# Two lines of `llama-bench -o jsonl`, build 1 (0c1e570), shortened.
LINES = """
print('{"build_commit": "0c1e570", "build_number": 1, "n_prompt": 24, "n_gen": 0, '
      '"avg_ns": 8000000, "avg_ts": 3000.0}')
print('load_backend: something', file=sys.stderr)
print('{"build_commit": "0c1e570", "build_number": 1, "n_prompt": 0, "n_gen": 4, '
      '"avg_ns": 20000000, "avg_ts": 200.0}')
time.sleep(0.2)
"""


def test_llama_bench_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "open(sys.argv[0] + '.asked', 'w').write(' '.join(sys.argv[1:]))\n"
    bench(tmp_path, monkeypatch, asked + LINES)
    params = SpeedParams(tool="llama-bench", device="cuda")
    subject = LlamaBench(tmp_path / "m.gguf", settings(), options=params.offload)
    assert subject.measure() == Sample(pp=3000.0, tg=200.0, ttft=0.008)
    assert subject.version == "llama-bench 1 (0c1e570)"
    if sys.platform == "linux":
        assert subject.finish().rss
    words = (tmp_path / "llama-bench.asked").read_text()
    assert (
        "-p 24 -n 4 -r 1 -t 1 -ctk f16 -ctv f16 -fa auto -ngl 999 --device CUDA0 -o jsonl" in words
    )


def test_llama_bench_is_taken_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Speed().tool(SpeedParams()) == "llama.cpp"
    without = Speed.fingerprint(SpeedParams())
    with pytest.raises(EngineMissingError, match="not on PATH"):
        LlamaBench(tmp_path / "m.gguf", settings())
    bench(tmp_path, monkeypatch, LINES)
    assert Speed().tool(SpeedParams()) == "llama-bench"
    assert Speed().tool(SpeedParams(batch_size=2)) == "llama.cpp"
    assert Speed().tool(SpeedParams(tool="in-process")) == "llama.cpp"
    assert Speed.fingerprint(SpeedParams()) != without


def test_a_llama_bench_that_says_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(tmp_path, monkeypatch, "print('{}')")
    with pytest.raises(DataError, match="gave 1 results for two tests"):
        LlamaBench(tmp_path / "m.gguf", settings()).measure()


@pytest.mark.slow
def test_a_checkpoint_by_transformers() -> None:
    folder = Path(__file__).parents[1] / "data" / "models" / "stories260K"
    probe = Probe(folder, settings(batch_size=2), backend="transformers")
    try:
        assert probe.measure().tg > 0
        assert probe.finish().rss
    finally:
        probe.close()
    assert "transformers" in probe.version
