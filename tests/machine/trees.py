"""Folders that look like the proc and sys of another machine."""

from __future__ import annotations

from pathlib import Path

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MEMORY = "35 31 0:32 {top} /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory"
V1_CPU = "36 31 0:33 {top} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"
HYBRID = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"


def tree(root: Path, *, cgroup: str, mounts: list[str], limits: dict[str, str]) -> Path:
    """A root whose process is in ``cgroup`` (the text of /proc/self/cgroup), with these lines of
    mountinfo and these files of limits, by path."""
    own = root / "proc" / "self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(cgroup)
    other = ["22 1 8:1 / / rw - ext4 /dev/sda1 rw", "a line that is cut -"]
    (own / "mountinfo").write_text("\n".join([*other, *mounts]) + "\n")
    for path, text in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root
