#!/usr/bin/env bash
# Gathers what `run.sh` needs on a machine with an NVIDIA GPU and no network, but for torch.
#   tests/gpu/pack.sh FOLDER      PYTHON=.venv/bin/python PYVER=3.12 CUDA=130 by default
# PYTHON has pip, setuptools and torch, which setup.py of some packages import; PYVER is the Python
# there; CUDA says which of bitsandbytes' libraries to take.
#
# The machine has, in its python3: torch for CUDA, transformers 5.17, accelerate, safetensors,
# tokenizers, numpy, numba, pandas, pyarrow, pillow, aiohttp, huggingface_hub 1.x, rich, pytest,
# hypothesis, pytest-xdist, ninja and setuptools; and nvcc, a C++ compiler, tar and xz. Their versions
# need not be those of constraints.txt. What engines' own environments need besides is packed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -eq 1 ] || { sed -n '2,/^set/p' "${BASH_SOURCE[0]}" | sed '$d'; exit 2; }
python=${PYTHON:-.venv/bin/python}; pyver=${PYVER:-3.12}; cuda=${CUDA:-130}
mkdir -p "$1"; out=$(cd "$1" && pwd); wheels=$out/wheels; locks=qpipe/engines/isolated
[ -z "$(ls -A "$out")" ] || { echo "$out is not empty" >&2; exit 2; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; mkdir "$wheels"

# The version that constraints.txt, or a lock, has for a name: the last of several is the newest Python's.
pin() { grep -iE "^$1==" "${2:-constraints.txt}" | tail -1 | sed -E 's/[ ;\\].*//'; }
pip() { BUILD_CUDA_EXT=0 PIP_CONSTRAINT= "$python" -m pip --disable-pip-version-check --no-input "$@"; }

platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for glibc in 28 27 24 17 12 5; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
binary() { # binary FOLDER NAME==VERSION…
  pip download -q --no-deps --only-binary=:all: --python-version "$pyver" --implementation cp \
    "${platforms[@]}" -d "$1" "${@:2}"
}
source_of() { # source_of FOLDER NAME==VERSION…: archives, as they are
  for one in "${@:2}"; do pip download -q --no-deps --no-binary=:all: --no-build-isolation -d "$1" "$one"; done
}

echo "engines' own environments: what differs from the machine's packages" >&2
old=$locks/auto_gptq.lock
binary "$wheels" $(for n in transformers tokenizers huggingface-hub peft gekko rouge datasets \
  sentencepiece requests urllib3 charset-normalizer tzdata; do pin $n $old; done)
binary "$wheels" "$(pin zstandard $locks/autoawq.lock)" \
  $(for n in exllamav2 fastparquet cramjam websockets; do pin $n $locks/exllamav2.lock; done)
source_of "$wheels" "$(pin auto-gptq $old)" "$(pin autoawq $locks/autoawq.lock)"

echo "qpipe's own packages" >&2
binary "$work/site" $(for n in hydra-core omegaconf pydantic pydantic-core annotated-types \
  typing-inspection gguf datasets dill multiprocess xxhash optimum llmcompressor compressed-tensors \
  loguru torchao auto-round bitsandbytes pytest-timeout; do pin $n; done)
source_of "$work/sdists" $(for n in gptqmodel device-smi logbar tokenicer defuser antlr4-python3-runtime; do pin $n; done)
pip wheel -q --no-deps --no-index --no-build-isolation -w "$work/site" "$work"/sdists/*
source_of "$out" "$(pin pypcre)" # compiled there: it has no wheels

"$python" - "$work/tree" "$work"/site/*.whl <<'P'
import sys, zipfile
for name in sys.argv[2:]:  # as an installer would, without scripts and tests
    wheel = zipfile.ZipFile(name)
    for entry in wheel.infolist():
        parts = entry.filename.split("/")
        if parts[0].endswith(".data"):
            if parts[1] not in ("purelib", "platlib"):
                continue
            parts = parts[2:]
        if parts[0] not in ("test", "tests", "benchmarks"):
            entry.filename = "/".join(parts)
            wheel.extract(entry, sys.argv[1])
P
# Kernels of W4A8 for Hopper, and matrices of rotations, which nothing here asks for.
rm -f "$work/tree"/torchao/_C_cutlass*.so
find "$work/tree" -name 'hadamards.safetensors' -delete
find "$work/tree/bitsandbytes" -name 'libbitsandbytes_*.so' ! -name "*_cuda$cuda.so" ! -name '*_cpu.so' -delete
tar cf - -C "$work/tree" . | xz -T0 -9e > "$out/site.tar.xz"
git ls-files -z qpipe recipes pyproject.toml constraints.txt README.md tests/__init__.py \
  tests/conftest.py tests/cli.py tests/killing.py tests/gpu ':!qpipe/data/stories260K' | tar cf - --null -T - | xz -T0 -9e > "$out/src.tar.xz"
cp tests/gpu/run.sh "$out/run.sh"
du -s --apparent-size --block-size=1MB "$out" | sed 's/\t.*/ MB in all/' >&2
echo "there: bash run.sh" >&2
