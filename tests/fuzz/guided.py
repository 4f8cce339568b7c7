"""A reader fuzzed by the code that its inputs reach: ``python -m tests.fuzz.guided TARGET``.

atheris (libFuzzer) keeps each input that reaches a branch of qpipe which none before it reached,
and changes that further: by bytes of its own choice, and by the changes of `tests.fuzz.changes`.
What an input may end in, its time and its memory are bounded as in `tests.fuzz.work`, more
generously. Faults are collected, one for each place, and do not end it. Prints a JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from typing import Any

SECONDS = 600
"""For one reader, unless asked otherwise."""

INPUT_SECONDS = 5.0
MEMORY = 1 << 29
"""CPU seconds of one input, and bytes that the process may grow by, before that is a fault."""

_SEEDS = 200
"""Damaged inputs to begin with, beside the whole files."""

_MOST_FAULTS = 50

# Each input is written to a file: in memory five times as many are read.
_IN_MEMORY = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)


def run(name: str, *, seconds: float) -> dict[str, Any]:
    """The account of fuzzing one reader, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="guided-", dir=_IN_MEMORY) as temporary:
        folder = Path(temporary)
        words = [sys.executable, "-m", "tests.fuzz.guided", name, "--work", temporary]
        done = subprocess.run(
            [*words, "--seconds", str(seconds)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            errors="replace",
        )
        account = folder / "account.json"
        if not account.is_file():
            raise RuntimeError(f"{name}: {done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(account.read_text())
        if done.returncode != 0:
            last = {"how": f"the process ended with {done.returncode}: {done.stderr[-3000:]}"}
            found["faults"].append(last)
        return found


class Reader:
    """A target whose files stand ready, and an account of what reading inputs ended in."""

    def __init__(self, name: str, work: Path) -> None:
        from tests.fuzz.readers import TARGETS

        self.name, self.work = name, work
        self.target = TARGETS[name]
        self.files = sorted(self.target.files)
        self.folder = work / "x"
        self.folder.mkdir()
        self.target.make(self.folder)
        self.whole = {file: (self.folder / file).read_bytes() for file in self.files}
        self.target.read(self.folder)
        self.counts = {"read": 0, "refused": 0}
        self.faults: dict[str, dict[str, Any]] = {}
        self.began = self.noted = time.monotonic()
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def input(self, file: str, data: bytes) -> bytes:
        """An input: which of the files it is, and what that holds."""
        return bytes([self.files.index(file)]) + data

    def seeds(self) -> Path:
        """A folder of inputs to begin with."""
        corpus = self.work / "corpus"
        corpus.mkdir()
        for number, file in enumerate(self.files):
            (corpus / f"whole{number}").write_bytes(self.input(file, self.whole[file]))
        for number in range(_SEEDS):
            file, data = self.target.damaged(self.whole, Random(f"guided {self.name} {number}"))
            (corpus / f"damaged{number}").write_bytes(self.input(file, data))
        return corpus

    def change(self, data: bytes, most: int, seed: int) -> bytes:
        """An input changed as its file's kind is: structures stay structures, often."""
        import atheris

        random = Random(seed)
        if len(data) > 1 and random.random() < 0.5:
            file = self.files[data[0] % len(self.files)]
            how = random.choice(self.target.files[file])
            try:
                return self.input(file, how(data[1:], random))[:most]
            except Exception:  # noqa: BLE001  what is damaged already may be no JSON any more
                pass
        mutated: bytes = atheris.Mutate(data, most)
        return mutated

    def read(self, data: bytes) -> None:
        """Read an input; a fault is noted."""
        from tests.fuzz import work

        if data:
            file = self.files[data[0] % len(self.files)]
            work.SECONDS = INPUT_SECONDS
            ended = work.read(self.target, self.folder, file, data[1:])
            (self.folder / file).write_bytes(self.whole[file])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if peak - self.peak > MEMORY >> 10:
                ended, self.peak = f"took {peak - self.peak >> 10} MiB of memory", peak
            if ended in (None, "refused"):
                self.counts["refused" if ended else "read"] += 1
            else:
                self._note(file, data[1:], str(ended))
        if time.monotonic() - self.noted > 1:
            self.account()

    def _note(self, file: str, data: bytes, how: str) -> None:
        place = "\n".join(line for line in how.splitlines() if line.startswith('  File "'))
        same = place + how.strip().splitlines()[-1][:60]
        if same not in self.faults and len(self.faults) < _MOST_FAULTS:
            kept = Path(
                tempfile.gettempdir(), f"fault-{self.name}-{os.getpid()}-{len(self.faults)}"
            )
            kept.write_bytes(data)
            self.faults[same] = {"file": file, "input": str(kept), "how": how}
            self.account()

    def account(self) -> None:
        """Write down what was read so far."""
        self.noted = time.monotonic()
        record = {
            "reader": self.name,
            "seconds": round(self.noted - self.began, 1),
            "inputs": sum(self.counts.values()),
            "counts": self.counts,
            "faults": [*self.faults.values()],
        }
        aside = self.work / "account.tmp"
        aside.write_text(json.dumps(record))
        aside.replace(self.work / "account.json")


def _fuzz(name: str, work: Path, seconds: float) -> None:
    import atheris

    # Never left: much of qpipe is imported by what is read, when it is first needed.
    atheris.instrument_imports(include=["qpipe"]).__enter__()
    reader = Reader(name, work)
    corpus = reader.seeds()
    from tests.fuzz import work as bounds

    warnings.simplefilter("error")
    bounds.listen()
    words = ["-max_len=300000", "-timeout=300", "-rss_limit_mb=0", "-print_final_stats=1"]
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={int(seconds)}", *words, str(corpus)],
        reader.read,
        custom_mutator=reader.change,
        internal_libfuzzer=True,
    )
    reader.account()
    atheris.Fuzz()


def main() -> None:
    """One reader, or all; here, or (``--work``) as the child of such a run."""
    from tests.fuzz.readers import TARGETS

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=float(SECONDS))
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    if asked.work is not None:
        _fuzz(asked.targets[0], asked.work, asked.seconds)
        return
    for name in asked.targets or TARGETS:
        print(json.dumps(run(name, seconds=asked.seconds)), flush=True)


if __name__ == "__main__":
    main()
