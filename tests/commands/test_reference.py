"""`qpipe reference`: one machine exports what it measured, another measures against the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli import Answer, by_stage, called
from tests.commands.test_answers import wrong

DATA = Path(__file__).parents[1] / "data"
MODEL, TEXT = DATA / "models" / "stories260K", DATA / "texts" / "tinystories_train_head_ascii.txt"
OTHER_TEXT = "builtin:texts/tinystories_lower_train.txt"
FILE = "r.reference.safetensors"
Gguf = Callable[[str, str], Path]

# Of these, what is measured has no difference but where its reference comes from.
FIGURES = ("ppl", "ppl_stderr", "ppl_delta", "ppl_delta_low", "ppl_delta_high", "kld", "kld_stderr")
MORE = (
    "kld_median",
    "kld_p99",
    "kld_p99_9",
    "kld_max",
    "kld_at_most",
    "same_top_pct",
    "rms_dp_pct",
)


class Shared(NamedTuple):
    """The folder of the big machine, its run, the quantized file and the reference file."""

    folder: Path
    run: dict[str, Any]
    quantized: Path
    file: Path


def share(folder: Path, *more: str) -> Shared:
    """Measure on one machine, and export the reference."""
    folder.mkdir(exist_ok=True)
    shutil.copy(TEXT, folder / "stories.txt")
    answer = called(
        *("run", "local", f"model.source={MODEL}", "evaluate=kld", "evaluate.text=stories.txt"),
        *("evaluate.n_ctx=64", "evaluate.chunks=12", "executor=inline", "--json", *more),
        cwd=folder,
    )
    assert answer.code == 0, answer.stderr
    said = called("reference", "export", "latest", "-o", FILE, "--json", cwd=folder)
    assert said.code == 0, said.stderr
    document = json.loads(said.stdout)
    assert wrong(document, "reference") == []
    (exported,) = document["files"]
    assert exported["size_bytes"] == (folder / FILE).stat().st_size
    (model,) = folder.glob("outputs/runs/*/models/*Q8_0.gguf")
    run = json.loads(answer.stdout)
    return Shared(folder, run, model.resolve(), folder / FILE)


def against(file: Path, quantized: Path | str, cwd: Path, *more: str, verb: str = "run") -> Answer:
    given = () if "evaluate=perplexity" in more else ("evaluate=kld",)
    return called(
        *(verb, "local", f"model.source={quantized}", "quantize=none", *given),
        *(f"run.reference={file}", "executor=inline", "--json", *more),
        cwd=cwd,
    )


def row(run: dict[str, Any], *, reference: bool) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each for each in run["rows"] if each["reference"] is reference]
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share(tmp_path_factory.mktemp("big"))


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, 32])
def test_figures_are_those_of_the_run_that_had_the_original(
    top_k: int | None, shared: Shared, tmp_path: Path
) -> None:
    if top_k:
        shared = share(tmp_path / "big", f"evaluate.top_k={top_k}")
    (tmp_path / "small").mkdir()
    answer = against(shared.file, shared.quantized, tmp_path / "small")
    assert answer.code == 0, answer.stderr
    ours, theirs = (row(run, reference=False) for run in (json.loads(answer.stdout), shared.run))
    for name in (*FIGURES, *(MORE if top_k else set(MORE) - {"kld_at_most"})):
        assert ours[name] == theirs[name] is not None, name
    assert ours["protocol"] == theirs["protocol"]
    assert ours["unlike"] == []
    reference = row(json.loads(answer.stdout), reference=True)
    assert reference["name"] == "F16, imported"
    assert reference["model"] == "stories260K"
    assert reference["ppl"] == row(shared.run, reference=True)["ppl"]
    (measured,) = reference["measurements"]
    assert measured["imported"]["backend"] == measured["backend"]
    assert measured["notes"][0].startswith("the reference is imported: stories260K F16, computed")
    names = {node["name"] for node in json.loads(answer.stdout)["nodes"]}
    assert {"original[r]", "tokens[r]", "kld_reference[r]"} <= names
    assert not [name for name in names if name.startswith("convert[")]


@pytest.mark.slow
def test_perplexity_is_compared_window_by_window(shared: Shared, tmp_path: Path) -> None:
    answer = against(shared.file, shared.quantized, tmp_path, "evaluate=perplexity")
    assert answer.code == 0, answer.stderr
    ours = row(json.loads(answer.stdout), reference=False)
    theirs = row(shared.run, reference=False)
    assert ours["ppl_delta_low"] == pytest.approx(theirs["ppl_delta_low"], rel=1e-9)
    assert ours["ppl_delta"] == pytest.approx(theirs["ppl_delta"], rel=1e-9)


@pytest.mark.slow
def test_another_tokenizer_is_refused_in_the_plan(
    shared: Shared, gguf_of: Gguf, tmp_path: Path
) -> None:
    for source, more in (
        (gguf_of("tinystories-d256", "Q8_0"), ("quantize=none",)),
        ("builtin:tinystories-d256", ("quantize=gguf", "quantize.type=Q8_0")),
    ):
        for verb in ("plan", "run"):
            answer = against(shared.file, source, tmp_path, *more, verb=verb)
            assert answer.code == 1
            said = answer.stdout + answer.stderr
            assert "its tokenizer is not that of r.reference.safetensors, which is of" in said
            assert "qpipe-inputs-" not in said
    assert not [*(tmp_path / "outputs").glob("store/artifacts/*/*/*.gguf")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evaluate.chunks=13", "has 12 windows; set evaluate.chunks=12 or fewer"),
        ("evaluate.n_ctx=128", "set evaluate.n_ctx=64, or leave it out"),
        ("evaluate.protocol=gptq-2048", "set evaluate.protocol=llamacpp-512"),
        ("evaluate.top_k=16", "keeps all 512 tokens of each distribution; leave it out"),
        (f"evaluate.text={OTHER_TEXT}", "set evaluate.text=null: the file carries it"),
        ("evaluate=speed", "needs the model itself: measure evaluate=kld"),
    ],
)
def test_what_the_file_has_not_is_refused_in_the_plan(
    override: str, words: str, shared: Shared, tmp_path: Path
) -> None:
    answer = against(shared.file, shared.quantized, tmp_path, override, verb="plan")
    assert answer.code == 2
    assert words in answer.stderr + answer.stdout


@pytest.mark.slow
def test_a_text_that_is_not_carried_is_to_be_given(shared: Shared, tmp_path: Path) -> None:
    said = called(
        *(
            "reference",
            "export",
            "latest",
            "--without-text",
            "-o",
            str(tmp_path / FILE),
        ),
        cwd=shared.folder,
    )
    assert said.code == 0, said.stderr
    assert "its digest alone" in said.stdout
    file = tmp_path / FILE
    assert b"Once upon" not in file.read_bytes()
    lacking = against(file, shared.quantized, tmp_path, verb="plan")
    assert lacking.code == 2
    assert "give it with evaluate.text=FILE; it is stories.txt" in lacking.stdout
    answer = against(file, shared.quantized, tmp_path, f"evaluate.text={TEXT}")
    assert answer.code == 0, answer.stderr
    assert (
        row(json.loads(answer.stdout), reference=False)["kld"]
        == (row(shared.run, reference=False)["kld"])
    )


@pytest.mark.slow
def test_what_is_imported_is_cached_for_runs_and_outlives_the_file(
    shared: Shared, tmp_path: Path
) -> None:
    file = tmp_path / FILE
    shutil.copy(shared.file, file)
    said = called("reference", "import", FILE, "--json", cwd=tmp_path)
    assert said.code == 0, said.stderr
    document = json.loads(said.stdout)
    assert wrong(document, "reference") == []
    assert document["cached"] is False
    again = json.loads(called("reference", "import", FILE, "--json", cwd=tmp_path).stdout)
    assert (again["cached"], again["key"]) == (True, document["key"])
    plan = json.loads(against(file, shared.quantized, tmp_path, verb="plan").stdout)
    assert by_stage(plan["nodes"])["original"]["key"] == document["key"]
    assert by_stage(plan["nodes"])["original"]["state"] == "cached"
    file.unlink()
    answer = against(Path(document["file"]), shared.quantized, tmp_path)
    assert answer.code == 0, answer.stderr
    shown = json.loads(called("reference", "show", document["file"], "--json", cwd=tmp_path).stdout)
    assert wrong(shown, "reference") == []
    assert shown["about"] == document["about"]


@pytest.mark.slow
def test_damage_is_found_on_the_way_in(shared: Shared, tmp_path: Path) -> None:
    data = bytearray(shared.file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / FILE).write_bytes(data)
    said = called("reference", "import", FILE, cwd=tmp_path)
    assert said.code == 1
    assert "this reference file is damaged: bytes" in said.stderr
    assert not [*(tmp_path / "outputs" / "store").glob("artifacts/*/*/of.reference.safetensors")]


def test_names_that_are_none(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "x.reference.safetensors").write_bytes(b"no")
    (shared.folder / "short.txt").write_text("Once upon a time.")
    weights = MODEL / "model.safetensors"
    for words, said in (
        (("export", "nothing"), "'nothing' is neither a run nor the beginning of a key"),
        (("export", "latest", "-o", "r.bin"), "give -o r.bin.reference.safetensors"),
        (("export", "latest", "-o", FILE), "is there already"),
        (("show", "nothing"), "there is no such file"),
        (("show", str(tmp_path / "x.reference.safetensors")), "it is a text (2 bytes)"),
        (("import", "short.txt"), "short.txt: is a text, and the name of a reference file"),
        (("show", str(weights)), "safetensors, but no reference file"),
        (("shwo", "latest"), "shwo: did you mean 'show'?; give export, import, show or size first"),
        ((), "give export, import, show or size first"),
        (("show",), "the following arguments are required: FILE"),
        (("import", FILE, "more"), "unrecognized arguments: more"),
        (("size", "512"), "Give --chunks N (windows), or --text FILE"),
        (("size", "1", "--chunks", "2"), "a vocabulary has from 2 to"),
        (("size", "512", "--chunks", "999999999999"), "more than the 1,099,511,627,776 tokens"),
        (("size", "512", "--text", "short.txt"), "too short for a window of 512 tokens"),
        (("size", "512", "--chunks", "2", "--without-text"), "there is no option --without-text"),
        (("import", FILE, "--dry-run"), "there is no option --dry-run"),
        (("show", FILE, "-o", "x", "--by", "me"), "there is no option -o"),
        (("export", "latest", "--chunks", "2"), "there is no option --chunks"),
    ):
        answer = called("reference", *words, cwd=shared.folder)
        assert answer.code in (1, 2)
        assert said in answer.stderr, words


def test_sizes_are_foretold(shared: Shared) -> None:
    given = ("--n-ctx", "64", "--chunks", "12", "--text", str(TEXT), "--json")
    for model in ("512", str(MODEL)):
        said = called("reference", "size", model, *given, cwd=shared.folder)
        document = json.loads(said.stdout)
        assert wrong(document, "reference") == []
        full = document["sizes"][0]
        assert (document["at_most"], document["tokens_scored"]) == (False, 12 * 31)
        assert full["size_bytes"] == pytest.approx(shared.file.stat().st_size, rel=0.01)
    known = called("reference", "size", "Qwen/Qwen3-8B", "--chunks", "32", cwd=shared.folder)
    assert "vocabulary of 151,936" in known.stdout
    assert "8,160 tokens scored in 32 windows" in known.stdout


def test_each_action_has_its_own_help_and_options(tmp_path: Path) -> None:
    whole = called("reference", "--help", cwd=tmp_path).stdout
    for action, own, others in (
        ("export", ("--without-text", "--dry-run", "--runs"), ("--chunks",)),
        ("import", ("--store", "FILE"), ("--chunks", "--by")),
        ("show", ("FILE", "`qpipe verify FILE` checks its data"), ("--store", "--by", "--chunks")),
        ("size", ("--chunks", "--n-ctx"), ("--by", "--dry-run")),
    ):
        assert f"  {action}  " in whole
        said = called("reference", action, "--help", cwd=tmp_path)
        assert said.code == 0
        assert said.stdout.startswith(f"usage: qpipe reference {action} ")
        assert [word for word in own if word not in said.stdout] == []
        assert [word for word in others if word in said.stdout] == []


def test_show_says_that_only_the_header_was_read_and_verify_reads_the_data(
    shared: Shared, tmp_path: Path
) -> None:
    data = bytearray(shared.file.read_bytes())
    shown = called("reference", "show", str(shared.file), cwd=tmp_path)
    assert f"only the header was read; `qpipe verify {shared.file}` reads" in shown.stdout
    for flipped in (False, True):
        data[-1000] ^= flipped
        (tmp_path / FILE).write_bytes(data)
        assert called("reference", "show", FILE, cwd=tmp_path).code == 0
        said = called("verify", FILE, "--json", cwd=tmp_path)
        document = json.loads(said.stdout)
        assert wrong(document, "verify-file") == []
        assert (said.code, document["whole"]) == (int(flipped), not flipped)
        told = called("verify", FILE, cwd=tmp_path).stdout
        assert ("is damaged: bytes" if flipped else "every byte is as it was written") in told


@pytest.mark.slow
def test_a_file_that_is_none_is_refused_in_the_plan(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "LICENSE.md").write_text("Apache License")
    (tmp_path / FILE).write_bytes(shared.file.read_bytes()[:1000])
    for file, words in (
        (
            tmp_path / "LICENSE.md",
            "is a text, and neither a model nor a reference file by its name",
        ),
        (tmp_path / FILE, "is damaged: it is cut short: 1,000 bytes, and its header alone takes"),
    ):
        answer = against(file, shared.quantized, tmp_path, verb="plan")
        assert answer.code in (1, 2)
        assert (answer.stdout + answer.stderr).count(words) in (1, 2)
