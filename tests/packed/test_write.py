"""The same content, saved twice by safetensors, has the same bytes once its metadata is sorted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from qpipe.packed.write import sort_metadata

# What differs from process to process is the order of a hash map.
SAVE = """
import sys, numpy as np
from safetensors.numpy import save_file
metadata = {f"entry {number} é": '"x"\\n' for number in range(8)}
save_file({"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, sys.argv[1], metadata=metadata)
"""


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(4)]
    for file in files:
        subprocess.run([sys.executable, "-c", SAVE, str(file)], check=True)
    assert len({file.read_bytes() for file in files}) > 1
    sizes = {file.stat().st_size for file in files}
    for file in files:
        sort_metadata(file)
    assert len({file.read_bytes() for file in files}) == 1
    assert {file.stat().st_size for file in files} == sizes
    with safe_open(files[0], "np") as opened:
        assert opened.metadata() == {f"entry {number} é": '"x"\n' for number in range(8)}
    np.testing.assert_array_equal(
        load_file(files[0])["weight"], np.arange(6, dtype=np.float32).reshape(2, 3)
    )


def test_a_file_that_is_in_order_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    subprocess.run([sys.executable, "-c", SAVE.replace("range(8)", "range(1)"), str(file)])
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    sort_metadata(file)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
