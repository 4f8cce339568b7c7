"""What is decided, from windows and items in a store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.errors import DataError, UsageError
from qpipe.gate.record import record
from qpipe.gate.verdicts import GateVerdict, LossVerdict, holm, rounded_up, worst
from qpipe.results.comparison import Comparison
from qpipe.results.record import rows as records
from tests.gate.kept import Kept, compared


def near(mean: float, spread: float, *, count: int = 60, seed: int = 0) -> list[float]:
    """Windows with exactly this mean."""
    rng = random.Random(seed)
    drawn = [rng.gauss(0, spread) for _ in range(count)]
    return [mean + each - sum(drawn) / count for each in drawn]


BASE = near(2.2, 0.3, seed=9)


def moved(by: float, spread: float = 0.02, *, seed: int = 1) -> list[float]:
    return [a + b for a, b in zip(BASE, near(by, spread, seed=seed), strict=True)]


def answers(items: int, lost: int, gained: int) -> tuple[list[int], list[int]]:
    """The reference's and the model's, half of the other items right."""
    rest = items - lost - gained
    both = [1] * (rest // 2) + [0] * (rest - rest // 2)
    return [1] * lost + [0] * gained + both, [0] * lost + [1] * gained + both


def only(gate: GateVerdict) -> LossVerdict:
    ((check,),) = (row.checks for row in gate.rows)
    return check


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "store")


@pytest.mark.parametrize(
    ("rise", "verdict", "code"),
    [
        *((0.0, "accept", 0), (0.004, "accept", 0), (0.009, "inconclusive", 6)),
        *((0.03, "regression", 5), (-0.02, "anomalous", 6)),
    ],
)
def test_perplexity(rise: float, verdict: str, code: int, kept: Kept) -> None:
    run = compared([kept.ppl("F16", BASE)], {"Q4_0": [kept.ppl("Q4_0", moved(rise))]})
    gate = qpipe.check(run, max_ppl="1%")
    assert (gate.verdict, gate.exit_code) == (verdict, code)
    assert only(gate).evidence.basis == "windows"
    assert (only(gate).needed is not None) == (verdict == "inconclusive")


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.001, "accept"), (0.0199, "inconclusive"), (0.03, "regression"), (-1e-7, "accept")],
)
def test_kl_divergence(mean: float, verdict: str, kept: Kept) -> None:
    run = compared([], {"Q4_0": [kept.kld("Q4_0", near(mean, abs(mean) / 3))]})
    assert qpipe.check(run, max_kld=0.02).verdict == verdict


def test_a_divergence_below_zero_is_no_divergence(kept: Kept) -> None:
    run = compared([], {"Q4_0": [kept.kld("Q4_0", near(-0.01, 0.001))]})
    check = only(qpipe.check(run, max_kld=0.02))
    assert check.verdict == "anomalous" and "below zero" in check.why


@pytest.mark.parametrize(
    ("mean", "most", "verdict"),
    [(0.001, 0.002, "accept"), (0.001, 0.05, "inconclusive"), (0.05, 0.05, "regression")],
)
def test_top_k_is_accepted_by_the_most_that_it_can_be(
    mean: float, most: float, verdict: str, kept: Kept
) -> None:
    run = compared([], {"Q4_0": [kept.kld("Q4_0", near(mean, mean / 5), most=most)]})
    check = only(qpipe.check(run, max_kld=0.02))
    assert check.verdict == verdict
    assert check.evidence.estimate.high > most
    assert verdict != "inconclusive" or (check.needed is None and "top_k" in check.why)


@pytest.mark.parametrize(
    ("items", "lost", "gained", "verdict"),
    [
        *((2000, 20, 20, "accept"), (2000, 90, 20, "regression"), (400, 10, 8, "inconclusive")),
        *((2000, 10, 60, "anomalous"), (700, 0, 0, "accept"), (50, 0, 0, "inconclusive")),
        (1, 1, 0, "inconclusive"),
    ],
)
def test_tasks(items: int, lost: int, gained: int, verdict: str, kept: Kept) -> None:
    theirs, ours = answers(items, lost, gained)
    run = compared(
        [kept.tasks("F16", {"acc[t]": theirs})], {"Q4_0": [kept.tasks("Q4_0", {"acc[t]": ours})]}
    )
    gate = qpipe.check(run, max_drop="1pp")
    assert gate.verdict == verdict
    assert only(gate).evidence.estimate.value == pytest.approx((lost - gained) / items)


def two_tasks(kept: Kept) -> Comparison:
    """Two tasks of which neither alone decides, with several scores each."""
    first, second = answers(900, 12, 12), answers(1100, 12, 12)
    made = [
        kept.tasks(name, {
            "acc[a]": first[n], "acc_norm[a]": first[0], "f1[a]": [0.5] * 900,
            "exact_match[b strict]": second[n], "exact_match[b flexible]": second[0],
        })
        for n, name in enumerate(("F16", "Q4_0"))
    ]  # fmt: skip
    return compared(made[:1], {"Q4_0": made[1:]})


def test_items_of_several_tasks_are_taken_together_and_once(kept: Kept) -> None:
    check = only(qpipe.check(two_tasks(kept), max_drop="1pp"))
    assert [*check.evidence.tasks] == ["acc[a]", "exact_match[b strict]"]
    assert check.evidence.estimate.count == 2000 and check.verdict == "accept"
    alone = [items.p_below(0.01) for items in check.evidence.tasks.values()]
    assert min(alone) > 0.05 >= check.p_accept
    other = only(
        qpipe.check(two_tasks(Kept(kept.store, text="2")), max_drop="1pp", score="acc_norm")
    )
    assert [*other.evidence.tasks] == ["acc_norm[a]", "exact_match[b strict]"]


def test_a_task_that_lost_much_is_named_where_all_together_did_not(kept: Kept) -> None:
    small, large = answers(200, 30, 2), answers(4000, 30, 30)
    made = [
        kept.tasks(name, {"acc[small]": small[n], "acc[large]": large[n]})
        for n, name in enumerate(("F16", "Q4_0"))
    ]
    check = only(qpipe.check(compared(made[:1], {"Q4_0": made[1:]}), max_drop="2pp"))
    assert check.verdict == "accept"
    assert check.note == "alone, acc[small] surely lost more than the bound"


def test_scores_that_are_not_right_or_wrong(kept: Kept) -> None:
    def made(name: str) -> list[Any]:
        return [kept.tasks(name, {"f1[t]": [0.25, 0.5] * 50})]

    with pytest.raises(UsageError, match="right or wrong"):
        qpipe.check(compared(made("F16"), {"Q4_0": made("Q4_0")}), max_drop="1pp")
    with pytest.raises(UsageError, match="none of its tasks has a score mcc"):
        qpipe.check(two_tasks(Kept(kept.store, text="2")), max_drop="1pp", score="mcc")


def test_equivalence_has_two_sides(kept: Kept) -> None:
    run = compared(
        [kept.ppl("F16", BASE)],
        {name: [kept.ppl(name, moved(by))] for name, by in
         (("a", 0.002), ("b", -0.004), ("c", -0.011), ("d", -0.03))},
    )  # fmt: skip
    plain = [row.verdict for row in qpipe.check(run, max_ppl="1%").rows]
    both = [row.verdict for row in qpipe.check(run, max_ppl="1%", equivalent=True).rows]
    assert plain == ["accept", "accept", "anomalous", "anomalous"]
    assert both == ["accept", "accept", "inconclusive", "anomalous"]


def test_a_row_is_its_worst_check_and_a_run_its_worst_row(kept: Kept) -> None:
    run = compared(
        [kept.ppl("F16", BASE)],
        {
            "good": [kept.ppl("good", moved(0.001)), kept.kld("good", near(0.001, 1e-4))],
            "bad": [kept.ppl("bad", moved(0.001)), kept.kld("bad", near(0.1, 1e-3))],
        },
    )
    gate = qpipe.check(run, max_ppl="1%", max_kld=0.02)
    assert [row.verdict for row in gate.rows] == ["accept", "regression"]
    assert (gate.verdict, gate.exit_code) == ("regression", 5)
    assert qpipe.check(run, max_ppl="1%", max_kld=0.02, only=["good"]).exit_code == 0
    assert worst(["accept", "inconclusive", "anomalous"]) == "anomalous"
    with pytest.raises(UsageError, match="--only F16: that is the reference"):
        qpipe.check(run, max_ppl="1%", only=["F16"])
    with pytest.raises(UsageError, match=r"--only godo: .* did you mean 'good'"):
        qpipe.check(run, max_ppl="1%", only=["godo"])


def rounding(kept: Kept, by: float, **settings: str) -> GateVerdict:
    words = {
        name: [
            f"quantize={name}",
            f"quantize.bits={settings.get(name, 4)}",
            "quantize.group_size=32",
        ]
        for name in ("rtn", "gptq")
    }
    run = compared(
        [kept.ppl("F16", BASE)],
        {"rtn": [kept.ppl("rtn", moved(0.004))], "gptq": [kept.ppl("gptq", moved(by, seed=2))]},
        **words,
    )
    return qpipe.check(run, max_ppl="3%")


def test_worse_than_rounding_to_the_nearest(kept: Kept) -> None:
    gate = rounding(kept, 0.02)
    assert [row.verdict for row in gate.rows] == ["accept", "anomalous"]
    check = gate.rows[1].checks[0]
    assert check.worse_than == "rtn" and "rounding to the nearest (rtn)" in check.why


def test_other_bits_and_better_ones_are_nothing_to_remark(tmp_path: Path) -> None:
    assert rounding(Kept(tmp_path / "a"), 0.02, rtn="3").verdict == "accept"
    assert rounding(Kept(tmp_path / "b"), 0.002).verdict == "accept"


def test_worse_than_rounding_in_kld_and_in_tasks(kept: Kept) -> None:
    words = {n: [f"quantize={n}", "quantize.bits=4"] for n in ("rtn", "gptq")}
    further = kept.kld("gptq", near(0.012, 1e-3, seed=4))
    kld = compared([], {"rtn": [kept.kld("rtn", near(0.01, 1e-3))], "gptq": [further]}, **words)
    assert [row.verdict for row in qpipe.check(kld, max_kld=0.1).rows] == ["accept", "anomalous"]
    right, wrong = answers(1000, 40, 5)
    tasks = compared(
        [kept.tasks("F16", {"acc[t]": right})],
        {"rtn": [kept.tasks("rtn", {"acc[t]": right})],
         "gptq": [kept.tasks("gptq", {"acc[t]": wrong})]}, **words)  # fmt: skip
    assert [r.verdict for r in qpipe.check(tasks, max_drop="9pp").rows] == ["accept", "anomalous"]


def test_each_way_of_measuring_is_a_check_of_its_own(kept: Kept) -> None:
    other = Kept(kept.store, protocol="gptq-2048")
    run = compared(
        [kept.ppl("F16", BASE), other.ppl("F16", BASE)],
        {"Q4_0": [kept.ppl("Q4_0", moved(0.0)), other.ppl("Q4_0", moved(0.05))]},
    )
    (row,) = qpipe.check(run, max_ppl="1%").rows
    assert [(c.evidence.name, c.verdict) for c in row.checks] == [
        *(("ppl[llamacpp-512]", "accept"), ("ppl[gptq-2048]", "regression")),
    ]


def test_another_text_than_the_reference_is_refused(kept: Kept) -> None:
    other = Kept(kept.store, text="other")
    run = compared([kept.ppl("F16", BASE)], {"Q4_0": [other.ppl("Q4_0", moved(0.0))]})
    with pytest.raises(UsageError, match="the reference was measured on another text"):
        qpipe.check(run, max_ppl="1%")


def test_bits_a_byte_are_no_perplexity_and_words_are(kept: Kept) -> None:
    run = compared(
        [kept.ppl("F16", BASE, unit="byte")], {"Q4_0": [kept.ppl("Q4_0", BASE, unit="byte")]}
    )
    with pytest.raises(UsageError, match="bits a byte"):
        qpipe.check(run, max_ppl="1%")
    words = compared(
        [kept.ppl("w", BASE, unit="word")], {"Q4_0": [kept.ppl("w4", moved(0.03), unit="word")]}
    )
    assert qpipe.check(words, max_ppl="1%").verdict == "regression"


def test_what_was_not_measured_is_named_with_a_command(kept: Kept) -> None:
    run = compared([kept.ppl("F16", BASE)], {"Q4_0": [kept.ppl("Q4_0", moved(0.0))]})
    with pytest.raises(UsageError) as error:
        qpipe.check(run, max_kld=0.02, max_drop="1pp", max_ppl="1%")
    assert "--max-kld: Q4_0: it is not measured" in str(error.value)
    assert "qpipe run RECIPE evaluate=kld" in str(error.value)
    assert "evaluate=tasks evaluate.tasks=TASK" in str(error.value)
    assert "--max-ppl" not in str(error.value)


def test_a_run_of_the_reference_alone_or_without_one(kept: Kept) -> None:
    alone = compared([kept.ppl("F16", BASE)], {})
    with pytest.raises(UsageError, match="no model beside the reference F16"):
        qpipe.check(alone, max_ppl="1%")
    run = compared([], {"Q4_0": [kept.ppl("Q4_0", BASE)]})
    with pytest.raises(UsageError, match="no reference"):
        qpipe.check(Comparison.of(run.rows[1:]), max_ppl="1%")


# -- a store that is gone, or damaged -------------------------------------------------------------


def removed(run: Comparison, kept: Kept) -> Comparison:
    for file in sorted(kept.store.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    return run


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [({"max_ppl": "1%"}, "accept"), ({"max_ppl": "0.05%"}, "regression"),
     ({"max_kld": "0.02"}, "accept"), ({"max_kld": "0.001"}, "regression"),
     ({"max_drop": "3pp"}, "accept"), ({"max_drop": "1pp"}, "inconclusive")],
)  # fmt: skip
def test_intervals_of_the_report_stand_in(bounds: Any, verdict: str, kept: Kept) -> None:
    theirs, ours = answers(1000, 12, 4)
    run = compared(
        [kept.ppl("F16", BASE), kept.tasks("F16", {"acc[t]": theirs})],
        {"Q4_0": [kept.ppl("Q4_0", moved(0.004, 0.005)), kept.kld("Q4_0", near(0.005, 1e-3)),
                  kept.tasks("Q4_0", {"acc[t]": ours})]},
    )  # fmt: skip
    check = only(qpipe.check(removed(run, kept), **bounds))
    assert (check.verdict, check.evidence.basis) == (verdict, "report")
    assert check.evidence.note is not None and "not in the store any more" in check.evidence.note


def test_a_folder_that_is_not_called_by_its_key_is_not_read(kept: Kept) -> None:
    run = compared([], {"Q4_0": [kept.kld("Q4_0", near(0.005, 1e-3))]})
    (document,) = records(run)[1:]
    (folder,) = kept.store.glob("artifacts/*/*")
    document["measurements"][0]["artifact"] = str(folder.rename(folder.with_name("else")))
    from qpipe.results.record import row

    moved_row = row(document)
    check = only(qpipe.check(Comparison.of([run.rows[0], moved_row]), max_kld=0.02))
    assert check.evidence.basis == "report"


@pytest.mark.parametrize("sampled", [True, False])
def test_part_of_the_windows(sampled: bool, kept: Kept) -> None:
    windows = [*near(0.015, 0.003, count=30), *[float("nan")] * 30]
    run = compared([], {"Q4_0": [kept.kld("Q4_0", windows, sampled=sampled)]})
    estimate = only(qpipe.check(run, max_kld=0.02)).evidence.estimate
    assert estimate.count == 3000
    half = (estimate.high - estimate.low) / 2
    assert half == pytest.approx(2.045 * 0.003 / 30**0.5 * (1.2 if sampled else 1), rel=0.3)


@pytest.mark.parametrize(
    "damage", ["{", '{"nll": [1]}', '{"nll": [NaN], "tokens": [1], "unit": "token", "units": 1}']
)
def test_damaged_windows_are_named(damage: str, kept: Kept) -> None:
    run = compared([kept.ppl("F16", BASE)], {"Q4_0": [kept.ppl("Q4_0", moved(0.0))]})
    for file in kept.store.rglob("windows.json"):
        file.write_text(damage)
    with pytest.raises(DataError, match=r"windows\.json: it is damaged"):
        qpipe.check(run, max_ppl="1%")


@pytest.mark.parametrize("change", [lambda f: f.write_bytes(b"x"), lambda f: f.write_bytes(b"")])
def test_damaged_sums_are_named(change: Callable[[Path], object], kept: Kept) -> None:
    run = compared([], {"Q4_0": [kept.kld("Q4_0", near(0.01, 1e-3))]})
    for file in kept.store.rglob("sums.npy"):
        change(file)
    with pytest.raises(DataError, match=r"sums\.npy: it is damaged"):
        qpipe.check(run, max_kld=0.02)


# -- corrections, and the record ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ps", "rejected"),
    [
        ([0.01, 0.02, 0.03], [True, True, True]),
        ([0.03, 0.04, 0.9], [False, False, False]),
        ([0.01, None, 0.03], [True, False, True]),
        ([], []),
    ],
)
def test_holm_by_hand(ps: Sequence[float | None], rejected: Sequence[bool]) -> None:
    assert holm(ps) == rejected


def test_numbers_are_rounded_up() -> None:
    assert [*map(rounded_up, (1, 9, 99, 101, 1230, 4_567_890))] == [1, 9, 99, 110, 1300, 4_600_000]


def test_the_record_is_json_without_infinity(kept: Kept) -> None:
    run = compared([kept.ppl("F16", BASE[:2])], {"Q4_0": [kept.ppl("Q4_0", BASE[:2])]})
    gate = qpipe.check(run, max_ppl="1%")
    (row,) = json.loads(json.dumps(record(gate), allow_nan=False))["rows"]
    (check,) = row["checks"]
    assert (check["verdict"], check["low"], check["mde"]) == ("inconclusive", None, None)
    assert "so few windows say nothing" in check["why"] and check["needed"] == 2800


def test_bounds_from_python(kept: Kept) -> None:
    run = compared([kept.ppl("F16", BASE)], {"Q4_0": [kept.ppl("Q4_0", moved(0.0))]})
    assert qpipe.check(run, max_ppl="1%", only="Q4_0").verdict == "accept"
    with pytest.raises(UsageError, match="without a unit it may be"):
        qpipe.check(run, max_ppl=0.01)  # type: ignore[arg-type]


def test_a_run_that_goes_on(kept: Kept) -> None:
    from dataclasses import replace

    run = compared([kept.ppl("F16", BASE)], {"Q4_0": []})
    rows = [replace(row, status="waiting") for row in run.rows]
    with pytest.raises(UsageError, match="not measured yet: the run has not ended"):
        qpipe.check(Comparison.of(rows), max_ppl="1%")


def test_a_score_of_which_less_is_better_is_turned_round(kept: Kept) -> None:
    from dataclasses import replace

    def made(name: str, wrong: Sequence[float]) -> Any:
        each = kept.tasks(name, {"mistake[t]": wrong})
        (score,) = each.measurement.scores
        told = replace(each.measurement, scores=(replace(score, better="lower"),))
        return replace(each, measurement=told)

    right, worse = answers(1000, 60, 5)
    run = compared([made("F16", worse)], {"Q4_0": [made("Q4_0", right)]})
    assert only(qpipe.check(run, max_drop="1pp", score="mistake")).verdict == "regression"


def test_a_level_that_another_ended_early_is_noted(tmp_path: Path) -> None:
    told = Path(__file__).parents[1] / "data" / "runs" / "dominated.json"
    gate = qpipe.check(told, max_kld=0.009)
    (q4_1,) = (row.checks[0] for row in gate.rows if row.name == "Q4_1")
    assert [row.verdict for row in gate.rows] == ["accept", "regression"]
    note = q4_1.evidence.note or ""
    assert "ended early since Q4_K_M is smaller" in note and "not in the store any more" in note
