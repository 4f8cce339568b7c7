"""Where everything lies on disk: the only module that builds a path inside a store or run folder.

::

    store/
      artifacts/ab/abcd…/        one artifact: its files and manifest.json; read-only
      ids/ab/abcd…               the key that a node id led to last (text)
      locks/ab/abcd….lock        held (flock) by whoever makes that artifact
      aside/abcd….PID-N/         an artifact being made; a leftover once its lock is free
      partial/abcd…/             what unfinished attempts at an artifact leave to the next one
      active/PID-N               the keys a living run uses (flock held while it lives)
      pins/RUN                   the keys of a pinned run, kept from gc
      quarantine/abcd….N/        damaged artifacts, moved away and never used
      dropped/ab/abcd…/          the manifest of an artifact whose bytes went (run.keep=results)
      hashes/1a2b-3c             SHA-256 of the file with this inode and size, by mtime and ctime
      plans/abcd…                composed plans, with the files that they were made from
      outlooks/abcd…             what stages said of a plan's nodes, by all that it hangs on
      index.json                 what `qpipe ls` shows of each manifest, by the stamp of its file
      gc.lock                    shared by lookups, exclusive while gc takes artifacts away
    runs/RUN/
      run.json events.jsonl logs/NAME.log jobs/NAME/ models/NAME.gguf report.html (.md .json .csv)
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, and pathlib, would cost `qpipe ls` their import
if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
ARTIFACTS = "artifacts"
INDEX = "index.json"
DEFAULT_STORE = "outputs/store"
DEFAULT_RUNS = "outputs/runs"


class _Below:
    """A folder whose layout is known. No dataclass: importing those would double `qpipe ls`."""

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        """Nothing is looked at, and nothing created."""
        self.root = root


class StorePaths(_Below):
    """The layout of a store below ``root``."""

    __slots__ = ()

    def artifact(self, key: str) -> Path:
        """The folder of a finished artifact."""
        return self.root.joinpath(ARTIFACTS, key[:2], key)

    def manifest(self, key: str) -> Path:
        """The manifest of a finished artifact."""
        return self.root.joinpath(ARTIFACTS, key[:2], key, MANIFEST)

    def node(self, node_id: str) -> Path:
        """The file that remembers the key of a node id."""
        return self.root.joinpath("ids", node_id[:2], node_id)

    def lock(self, key: str) -> Path:
        """The file whose flock is the right to make an artifact."""
        return self.root.joinpath("locks", key[:2], f"{key}.lock")

    def partial(self, key: str) -> Path:
        """The folder of what an unfinished attempt at an artifact leaves to the next one."""
        return self.root.joinpath("partial", key)

    @property
    def partials(self) -> Path:
        """A folder for each artifact that was begun and not finished."""
        return self.root / "partial"

    @property
    def artifacts(self) -> Path:
        """All finished artifacts."""
        return self.root / ARTIFACTS

    @property
    def aside(self) -> Path:
        """Artifacts being made."""
        return self.root / "aside"

    @property
    def active(self) -> Path:
        """One file for each living run."""
        return self.root / "active"

    @property
    def pins(self) -> Path:
        """One file for each pinned run."""
        return self.root / "pins"

    @property
    def quarantine(self) -> Path:
        """Damaged artifacts."""
        return self.root / "quarantine"

    def dropped(self, key: str) -> Path:
        """The folder of the manifest that stays of an artifact whose bytes went."""
        return self.root.joinpath("dropped", key[:2], key)

    @property
    def dropped_manifests(self) -> Path:
        """The manifests of artifacts whose bytes went, in folders by key."""
        return self.root / "dropped"

    @property
    def hashes(self) -> Path:
        """Remembered digests of files in and outside the store."""
        return self.root / "hashes"

    @property
    def plans(self) -> Path:
        """Remembered compositions."""
        return self.root / "plans"

    @property
    def outlooks(self) -> Path:
        """Remembered answers of stages to plans."""
        return self.root / "outlooks"

    @property
    def gc_lock(self) -> Path:
        """Shared by lookups, exclusive for gc."""
        return self.root / "gc.lock"


class RunPaths(_Below):
    """The layout of one run's folder."""

    __slots__ = ()

    @property
    def summary(self) -> Path:
        """The file with what `qpipe run --json` printed."""
        return self.root / "run.json"

    @property
    def tensors(self) -> Path:
        """The file with the types and errors of each model's tensors."""
        return self.root / "tensors.json"

    @property
    def events(self) -> Path:
        """The events, one JSON document a line."""
        return self.root / "events.jsonl"

    @property
    def jobs(self) -> Path:
        """A folder for each worker: job.json, progress.jsonl, result.json."""
        return self.root / "jobs"

    @property
    def logs(self) -> Path:
        """The folder with what each worker printed."""
        return self.root / "logs"

    def report(self, suffix: str) -> Path:
        """The comparison, as md, json, csv or html."""
        return self.root / f"report.{suffix}"
