"""The right to make an artifact, and putting it in the place of one that is there."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.layout import MANIFEST, StorePaths
from qpipe.core.manifest import DamagedError, FileEntry, Manifest
from qpipe.machine.filesystem import move_out, remove_tree


@dataclass
class Claim:
    """The right to make one artifact, and the folder to fill. ``fd`` is the held lock.

    ``partial`` is where a stage may keep what the next attempt can go on from, should this one
    end early: it outlives the claim, and goes when the artifact is there. ``hashes`` is where the
    store keeps what it knows of files' digests. With ``replacing`` the
    artifact takes the place of one that is there; ``kept_at`` is then where that was moved, if its
    bytes are others.
    """

    key: str
    folder: Path
    partial: Path
    fd: int
    hashes: Path
    replacing: bool = False
    kept_at: Path | None = None

    def release(self) -> None:
        """Give the right back, once; what was not committed is removed."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:
                remove_tree(self.folder)
            finally:
                os.close(fd)


def renew(paths: StorePaths, claim: Claim, manifest: Manifest) -> Sequence[FileEntry] | None:
    """Give the artifact that is there the manifest of one that was made again, where their bytes
    are the same; return its files. Else move it to quarantine (``claim.kept_at``), and return None.

    Its files stay where they are: whoever reads them meanwhile is not disturbed. Raises OSError.
    """
    folder = paths.artifact(claim.key)
    if not os.path.lexists(folder):
        return None
    try:
        before = Manifest.load(folder)
    except DamagedError:
        before = None
    if before is not None and before.digest == manifest.digest:
        folder.chmod(0o755)
        renewed = replace(manifest, files=before.files).dump()
        file_lock.write_atomic(folder / MANIFEST, renewed, mode=0o444)
        folder.chmod(0o555)
        return before.files
    kept_at = paths.quarantine / f"{claim.key}.{file_lock.unique()}"
    kept_at.parent.mkdir(parents=True, exist_ok=True)
    move_out(folder, kept_at)
    os.utime(kept_at, follow_symlinks=False)
    claim.kept_at = kept_at
    return None


def barred(folder: Path) -> str | None:
    """Why this user cannot put another artifact in the place of the one in ``folder``, or None:
    only its owner, and root, can move its folder."""
    user, uid = os.geteuid(), folder.lstat().st_uid
    return f"owned by {owner(uid)}, who alone can remove it" if user not in (0, uid) else None


def owner(uid: int) -> str:
    """The name of a user, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
