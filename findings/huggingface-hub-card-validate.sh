#!/usr/bin/env bash
# huggingface_hub 1.33 sends a model card to https://huggingface.co to be validated, whatever hub HF_ENDPOINT names:
# ModelCard.validate (repocard.py) has that address written in it. So RepoCard.push_to_hub, which validates first, sends
# the card of a private mirror's repository to another host, and fails where only the mirror can be reached. Below no
# request leaves the machine: the client's documented factory gives it a transport that notes what it is asked for.
# Seen, with HF_ENDPOINT=http://127.0.0.1:9: whoami asks http://127.0.0.1:9/api/whoami-v2, validate asks
# https://huggingface.co/api/validate-yaml.
# qpipe validates no card over the network; its tests of cards answer this address themselves.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv env; env/bin/pip install -q huggingface_hub==1.33.0
cat > ask.py <<'PY'
import sys

import httpx
import huggingface_hub
from huggingface_hub import HfApi, ModelCard

asked = []


def answer(request):
    asked.append(str(request.url))
    return httpx.Response(200, json={"name": "somebody", "errors": [], "warnings": []})


huggingface_hub.set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(answer)))
HfApi().whoami(token="hf_none")
ModelCard("---\nlicense: mit\n---\n# A model of a private hub\n").validate()
(own,) = [address for address in asked if address.endswith("/api/whoami-v2")]
(validated,) = [address for address in asked if address.endswith("/api/validate-yaml")]
print("huggingface_hub", huggingface_hub.__version__)
print("HF_ENDPOINT", huggingface_hub.constants.ENDPOINT)
print("whoami    asks", own)
print("validate  asks", validated)
assert own.startswith(huggingface_hub.constants.ENDPOINT), "no request goes to HF_ENDPOINT"
sys.exit(0 if validated.startswith("https://huggingface.co/") else "the card goes to HF_ENDPOINT now")
PY
HF_ENDPOINT=http://127.0.0.1:9 HF_HOME=$work/home env/bin/python ask.py
