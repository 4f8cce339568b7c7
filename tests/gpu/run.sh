#!/usr/bin/env bash
# The tests of engines on a machine with an NVIDIA GPU.
#   bash run.sh [PYTEST…]          in a folder that tests/gpu/pack.sh filled; no network is asked
#   tests/gpu/run.sh [PYTEST…]     in a checkout, with a network: installs all there is
# TARGET (default: qpipe-gpu beside it) gets the environments; PYTHON (python3) has torch for CUDA.
# Environments of engines are made in the background, exllamav2's with its CUDA code; tests that need
# one wait for it. A table of what ran where is in TARGET/results.jsonl.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); python=${PYTHON:-python3}
target=${TARGET:-$here/qpipe-gpu}; mkdir -p "$target"; target=$(cd "$target" && pwd); venv=$target/venv
export QPIPE_ENGINES=$target/engines QPIPE_GPU_RESULTS=$target/results.jsonl
export HF_HUB_OFFLINE=1 GPTQMODEL_OFFLINE=1 TOKENIZERS_PARALLELISM=false
unset PYTHONPATH

if [ -f "$here/site.tar.xz" ]; then
  export QPIPE_GPU_WHEELS=$here/wheels
  checkout=$target/src
  for part in site src; do
    [ -d "$target/$part" ] && continue
    rm -rf "$target/$part.part"; mkdir "$target/$part.part"
    tar xJf "$here/$part.tar.xz" -C "$target/$part.part"; mv "$target/$part.part" "$target/$part"
  done
  [ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"
  packages=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  first=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  printf '%s\n%s\nimport site; site.addsitedir(%s)\n' "$checkout" "$target/site" "'$packages'" > "$first/zz-gpu.pth"
  if [ ! -d "$target/site/pcre" ]; then # GPTQModel's; its source is compiled, some ten seconds
    (cd "$target" && "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps \
      --no-build-isolation --target "$target/site" "$here"/[Pp]y[Pp]cre-*.tar.gz)
  fi
else
  checkout=$(cd "$here/../.." && pwd)
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  unset HF_HUB_OFFLINE
  "$venv/bin/python" -m pip install --quiet --editable "$checkout[dev]" --constraint "$checkout/constraints.txt"
fi

cd "$checkout"
for name in exllamav2 auto-gptq autoawq; do
  "$venv/bin/python" -m tests.gpu.environments "$name" > "$target/$name.log" 2>&1 &
done
: > "$QPIPE_GPU_RESULTS"
status=0
"$venv/bin/python" -m pytest tests/gpu -m gpu -v -n "${TESTS:-6}" -p no:cacheprovider \
  --basetemp "$target/pytest" "$@" || status=$?
wait
cat "$QPIPE_GPU_RESULTS"
exit $status
