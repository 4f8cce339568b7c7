#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: installs qpipe, torch for CUDA and the engines that need it, then
# runs the tests marked `gpu`.   tests/gpu/run.sh [WHEELS]
# WHEELS is a folder of wheels and sdists, for a machine without network: all that constraints.txt
# and the locks in qpipe/engines/isolated/ name for its Python, e.g. from `pip download`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ $# -gt 0 ]; then
  wheels=$(cd "$1" && pwd)
  export PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels" UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS="$wheels"
fi
venv=${VENV:-.gpu-venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
"$venv/bin/python" -c 'import torch; assert torch.cuda.is_available(), "this torch sees no GPU"'
"$venv/bin/qpipe" engines install autoawq auto-gptq exllamav2
exec "$venv/bin/python" -m pytest -m gpu -v "${@:2}"
