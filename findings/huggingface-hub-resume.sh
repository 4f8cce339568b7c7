#!/usr/bin/env bash
# huggingface_hub 1.33 begins a file anew after its process was killed or gave up: what came is in a
# file of a random name, which nobody goes on with, and a killed process leaves it behind. Within one
# process it goes on from a multiple of 10 MiB, and only where the connection was closed, not reset.
# qpipe goes on at the byte (qpipe/sources/hub_download.py).
set -euo pipefail
work=$(mktemp -d); trap 'kill ${hub:-} 2>/dev/null; rm -rf "$work"' EXIT; cd "$work"
python3 -m venv env; env/bin/pip install -q huggingface_hub==1.33.0
cat > hub.py <<'PY'
"""A hub of one repository on localhost, whose one file stops coming after 25 MB the first time."""
import hashlib, re, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT, DATA, stalled = "0" * 40, bytes(range(256)) * 117_188, []


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked else 0
        if self.command == "GET" and "/resolve/" in self.path:
            print("asked for bytes from", begin, flush=True)
        self.send_response(206 if asked else 200)
        for name, value in {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(DATA).hexdigest()}"',
            "Content-Length": str(len(DATA) - begin),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and not stalled and "/resolve/" in self.path:
            stalled.append(self.wfile.write(DATA[:25_000_000]))
            time.sleep(20)
        elif self.command == "GET":
            self.wfile.write(DATA[begin:])

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
PY
env/bin/python hub.py > asked & hub=$!
until [ -s asked ]; do sleep 0.1; done
export HF_ENDPOINT=http://127.0.0.1:$(head -1 asked) HF_HOME=$work/home HF_HUB_DISABLE_XET=1
cat > fetch.py <<'PY'
import huggingface_hub

print("huggingface_hub", huggingface_hub.__version__, flush=True)
huggingface_hub.hf_hub_download("someone/model", "model.safetensors", revision="0" * 40)
PY
env/bin/python fetch.py 2>/dev/null & client=$!
until [ -n "$(find home -name '*.incomplete' -size +20000k 2>/dev/null)" ]; do sleep 0.1; done
kill -KILL $client; wait $client 2>/dev/null || true
find home -name '*.incomplete' -printf 'left by a client that was killed: %s bytes\n'
env/bin/python fetch.py 2>/dev/null
sed 1d asked
if [ "$(sed 1d asked | sort -u)" = "asked for bytes from 0" ]; then echo "begun anew"; else
  echo "went on where it stopped"; exit 1; fi
