"""inspect, engines and doctor."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from pathlib import Path

import pytest

from qpipe.gguf import values
from tests.cli import called, qpipe
from tests.commands.stores import make

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"


def test_inspect_a_checkpoint(tmp_path: Path) -> None:
    answer = called("inspect", str(MODEL), cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    said = dict(line.split("  ", 1) for line in answer.stdout.splitlines() if "  " in line)
    assert said["format"].strip() == "safetensors"
    assert said["parameters"].strip() == "3,410,176"
    document = json.loads(called("inspect", str(MODEL), "--json", cwd=tmp_path).stdout)
    assert document["parameters"] == 3410176
    assert document["made_by"] is None


def test_inspect_lists_tensors_when_asked(tmp_path: Path) -> None:
    brief = called("inspect", str(MODEL / "model.safetensors"), cwd=tmp_path)
    full = called("inspect", str(MODEL / "model.safetensors"), "--tensors", cwd=tmp_path)
    assert "model.embed_tokens.weight" not in brief.stdout
    lines = [line.split() for line in full.stdout.splitlines()]
    assert ["model.embed_tokens.weight", "BF16", "1024", "×", "256", "512", "KiB"] in lines


def test_inspect_an_artifact_says_what_made_it(tmp_path: Path) -> None:
    run = called(
        "run", "local", f"model.source={MODEL}", "evaluate.chunks=1", "executor=inline", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0, run.stderr
    row = json.loads(run.stdout)["rows"][1]
    for given in (row["key"][:10], row["artifact"], row["file"]):
        document = json.loads(called("inspect", given, "--json", cwd=tmp_path).stdout)
        assert document["file_type"] == "Q8_0"
        assert document["made_by"]["key"] == row["key"]
        assert document["made_by"]["params"]["type"] == "Q8_0"
    said = called("inspect", row["key"][:10], cwd=tmp_path).stdout
    assert f"artifact {row['key'][:12]} (stage quantize)" in said
    assert "model: download[" in said
    _, _, errors = said.partition("ERROR ‖q − x‖ ÷ ‖x‖ OF")
    kinds, worst = zip(*[line.split()[0::4] for line in errors.splitlines()[1:]], strict=True)
    assert {"blk.*.attn_q.weight", "token_embd.weight"} <= {*kinds}
    shares = [float(share.rstrip("%")) for share in worst]
    assert shares == sorted(shares, reverse=True)
    assert 0.1 < shares[0] < 1, "percent of Q8_0"
    shown = called("show", row["key"][:10], cwd=tmp_path).stdout
    assert "of 38 tensors; `qpipe inspect` shows them" in shown


def test_inspect_of_what_is_no_checkpoint(tmp_path: Path) -> None:
    make(tmp_path / "outputs" / "store", "a")
    (tmp_path / "x.gguf").write_bytes(b"GGUFnonsense")
    said_of = {"x.gguf": ("x.gguf", 1), "nowhere": ("no such file", 2), "dead": ("'dead'", 1)}
    for given, (said, code) in said_of.items():
        answer = called("inspect", given, cwd=tmp_path)
        assert answer.code == code, answer
        assert said in answer.stderr
        assert "Traceback" not in answer.stderr


def gguf_file(path: Path, **metadata: bytes) -> Path:
    """A GGUF file of one tensor with ``general.name`` and the like."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(metadata) + 1)
    fields = {"general.architecture": values.string("llama")}
    fields |= {name.replace("__", "."): value for name, value in metadata.items()}
    for name, value in fields.items():
        header += values.pack_string(name.encode()) + value
    header += values.pack_string(b"a\x1b[2J") + struct.pack("<IQIQ", 1, 8, 0, 0)
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(32))
    return path


def test_inspect_shows_control_sequences_instead_of_sending_them(tmp_path: Path) -> None:
    name = b"\x1b[2J\x1b]0;pwn\x07\nbits per weight  1.0"
    gguf_file(tmp_path / "x.gguf", general__name=values.string(name.decode()))
    answer = called("inspect", "x.gguf", "--tensors", cwd=tmp_path)
    assert answer.code == 0
    assert r"general.name: \x1b[2J\x1b]0;pwn\x07\nbits per weight  1.0" in answer.stdout
    assert r"a\x1b[2J" in answer.stdout
    assert "\x1b" not in answer.stdout + answer.stderr


def test_inspect_says_in_json_what_json_has_no_number_for(tmp_path: Path) -> None:
    gguf_file(tmp_path / "x.gguf", a=values.f32(math.nan), b=values.f32s([math.inf, 1, -math.inf]))
    answer = called("inspect", "x.gguf", "--json", cwd=tmp_path)
    metadata = json.loads(answer.stdout, parse_constant=lambda name: pytest.fail(name))["metadata"]
    assert metadata == {"general.architecture": "llama", "a": "NaN"} | {
        "b": ["Infinity", 1.0, "-Infinity"]
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [("x" * 300, 2), ("a" * 64, 1), ("fifo", 1), ("~nobody/x", 2), ("\x1b[31mred", 2)],
)
def test_inspect_of_what_can_be_no_file(tmp_path: Path, name: str, code: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    answer = called("inspect", name, cwd=tmp_path)
    assert answer.code == code
    assert answer.stderr.startswith("qpipe: ")
    assert "Traceback" not in answer.stderr and "\x1b" not in answer.stderr


def test_engines(tmp_path: Path) -> None:
    answer = called("engines", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.splitlines()[0] == "works here"
    records = json.loads(called("engines", "--json", cwd=tmp_path).stdout)["engines"]
    found = {
        (r["stage"], r["chosen_by"].get("method"), r["chosen_by"].get("metric")) for r in records
    }
    assert {("quantize", "gguf", None), ("evaluate", None, "perplexity")} <= found
    assert ("download", None, None) in found
    measure = {"metric": "perplexity", "backend": "llama.cpp"}
    perplexity = next(r for r in records if r["chosen_by"] == measure)
    assert perplexity["usable"] is True
    assert perplexity["tools"]["xllamacpp"].startswith("20")


def test_doctor_finds_the_base_working(tmp_path: Path) -> None:
    answer = called("doctor", cwd=tmp_path)
    assert answer.code == 0, answer.stdout
    assert answer.stdout.splitlines()[-1] == "the base works"
    document = json.loads(called("doctor", "--json", cwd=tmp_path).stdout)
    assert document["works"] is True
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["llama.cpp"]["state"] == "ok"
    assert "locks work" in checks["file system"]["found"]
    assert "network" not in checks, "nobody asked for it"
    assert all(check["fix"] for check in document["checks"] if check["state"] == "broken")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_doctor_names_what_is_broken(tmp_path: Path) -> None:
    # A wheel of another version: its C structs are unknown, so it must not be used.
    fake = tmp_path / "site" / "xllamacpp-1.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: xllamacpp\nVersion: 1.0\n")
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{tmp_path / 'site'}:{root}"}
    answer = qpipe("doctor", cwd=tmp_path, env=env)
    assert answer.code == 3, answer.stdout
    assert "BROKEN  llama.cpp" in answer.stdout
    assert "→ pip install --force-reinstall xllamacpp==" in answer.stdout
    assert "llama.cpp" in answer.stdout.splitlines()[-1]
    shutil.rmtree(fake)
    assert qpipe("doctor", cwd=tmp_path, env=env).code == 0


def test_doctor_hides_the_token_and_asks_nobody(tmp_path: Path) -> None:
    env = {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    answer = qpipe("doctor", cwd=tmp_path, env=env)
    assert "hf_secret" not in answer.stdout + answer.stderr
    assert "a token is set" in answer.stdout
    assert "http://127.0.0.1:9" in answer.stdout
    assert "HF_HUB_OFFLINE is set" in answer.stdout


def test_doctor_says_when_the_hub_does_not_answer(tmp_path: Path) -> None:
    answer = qpipe(
        "doctor", "--network", "--json", cwd=tmp_path, env={"HF_ENDPOINT": "http://127.0.0.1:9"}
    )
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["network"]["state"] == "absent"
    assert "http://127.0.0.1:9 does not answer" in checks["network"]["found"]
    assert answer.code == 0


def test_doctor_checks_versions_and_extras(tmp_path: Path) -> None:
    # Requirements of an installed qpipe that this environment cannot meet.
    own = tmp_path / "site" / "qpipe-0.1.0.dist-info"
    own.mkdir(parents=True)
    (own / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: qpipe\nVersion: 0.1.0\n"
        "Requires-Dist: pydantic>=2\n"
        "Requires-Dist: numpy>=99\n"
        "Requires-Dist: not-for-us; sys_platform == 'plan9'\n"
        "Provides-Extra: easy\nRequires-Dist: rich>=1; extra == 'easy'\n"
        "Provides-Extra: hard\nRequires-Dist: qpipe[easy]; extra == 'hard'\n"
        "Requires-Dist: no-such-engine>=2; extra == 'hard'\n"
        "Provides-Extra: all\nRequires-Dist: qpipe[easy,hard]; extra == 'all'\n"
    )
    env = {"PYTHONPATH": f"{tmp_path / 'site'}:{Path(__file__).parents[2]}"}
    answer = qpipe("doctor", "--json", cwd=tmp_path, env=env)
    assert answer.code == 3
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["pydantic"]["state"] == "ok"
    assert checks["numpy"]["state"] == "broken"
    assert checks["numpy"]["fix"] == "pip install 'numpy>=99'"
    assert "not-for-us" not in checks
    assert checks["extra easy"]["state"] == "ok"
    assert checks["extra hard"]["state"] == "absent"
    assert checks["extra hard"]["found"] == "no-such-engine is not installed"
    assert checks["extra hard"]["fix"] == "pip install 'qpipe[hard]==0.1.0'"
    assert "extra all" not in checks

    (tmp_path / "constraints.txt").touch()
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    (own / "direct_url.json").write_text(json.dumps(origin))
    again = json.loads(qpipe("doctor", "--json", cwd=tmp_path, env=env).stdout)["checks"]
    (fix,) = (check["fix"] for check in again if check["name"] == "extra hard")
    assert fix == f"pip install -e '{tmp_path}[hard]' -c {tmp_path}/constraints.txt"


def test_inspect_where_errors_are_not_noted() -> None:
    from qpipe.commands.inspect_text import errors

    tensors = [{"name": "x", "type": "Q4_K", "error": None}]
    assert errors(tensors, {"params": {"method": "gguf"}}).endswith("does not tell.")
    assert errors(tensors, {"params": {"to": "gguf"}}) == ""
    assert errors(tensors, {"problem": "damaged"}) == ""
    assert errors(tensors, None) == ""
