#!/usr/bin/env bash
# huggingface_hub does not compare what it downloads with the SHA-256 that the hub names: wrong bytes
# of the right length are kept in its cache under that very SHA-256, and are served from then on.
# A mirror or proxy that damages a file is enough. qpipe compares (qpipe/sources/digest_check.py).
set -euo pipefail
work=$(mktemp -d); trap 'kill ${hub:-} 2>/dev/null; rm -rf "$work"' EXIT; cd "$work"
python3 -m venv env; env/bin/pip install -q huggingface_hub==1.33.0
cat > hub.py <<'PY'
"""A hub of one repository on localhost; the last bytes of its one file come as zeros."""
import hashlib, json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

COMMIT, DATA = "0" * 40, bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        etag = hashlib.sha256(DATA).hexdigest()
        self.send_response(200)
        for name, value in {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(DATA[:-100] + bytes(100))

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
env/bin/python hub.py > port & hub=$!
until [ -s port ]; do sleep 0.1; done
HF_ENDPOINT=http://127.0.0.1:$(cat port) HF_HOME=$work/home HF_HUB_DISABLE_XET=1 env/bin/python - <<'PY'
import hashlib, os, sys
from pathlib import Path

import huggingface_hub

print("huggingface_hub", huggingface_hub.__version__)
file = Path(huggingface_hub.hf_hub_download("someone/model", "model.safetensors", revision="0" * 40))
named, got = Path(os.readlink(file)).name, hashlib.sha256(file.read_bytes()).hexdigest()
print("the hub names ", named)
print("the bytes have", got)
print("taken without a word" if named != got else "the download was whole")
sys.exit(named == got)
PY
