#!/usr/bin/env bash
# safetensors 0.8.0: the entries of __metadata__ are written in an order of their own each time, for they are kept in a
# hash map with a random seed. Two processes that save the same tensors with the same three or more entries write files
# that differ, and so do their SHA-256; tensors and sizes are the same. Checkpoints of torchao have an entry for each
# quantized matrix, so quantizing twice never gives the same file. qpipe sorts them (qpipe/packed/write.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q safetensors==0.8.0 numpy
cat > save.py <<'PY'
import sys

import numpy as np
from safetensors.numpy import save_file

metadata = {f"entry {number}": "x" for number in range(8)}
save_file({"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, sys.argv[1], metadata=metadata)
PY
for number in 1 2 3 4 5 6; do venv/bin/python save.py "$number.safetensors"; done
cat > compare.py <<'PY'
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

files = [Path(f"{number}.safetensors").read_bytes() for number in range(1, 7)]
headers = [json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) for data in files]
digests = {hashlib.sha256(data).hexdigest() for data in files}
print("safetensors", version("safetensors"))
print(f"six files with the same content: {len(digests)} different SHA-256, {len(set(map(len, files)))} size")
assert all(header == headers[0] for header in headers), "the content differs"
assert len(digests) > 1, "the same bytes now"
PY
venv/bin/python compare.py
