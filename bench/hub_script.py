"""What a worker does of a download: `python hub_script.py REPO COMMIT OUT`.

Prints the bytes that it read of files, 0 where the kernel does not count them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.core.manifest import scan
from qpipe.sources.download import Download, DownloadParams
from qpipe.stages.base import Work


def main(repository: str, commit: str, out: Path) -> None:
    """Fill ``out`` and hash what is in it."""
    out.mkdir()
    work = Work(
        inputs={},
        out=out,
        threads=2,
        progress=lambda done, total, unit: None,
        where={"name": repository},
        digests=Digests(out / ".." / "hashes"),
    )
    Download().run(DownloadParams(kind="model", repo=repository, commit=commit), work)
    assert all(entry.sha256 for entry in scan(out, hashed=work.hashed, threads=2))
    counted = Path("/proc/self/io")
    print(int(counted.read_text().split()[1]) if counted.is_file() else 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
