"""Which GPUs CUDA shows, of device nodes in a folder, with a library of the driver or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import gpus
from tests.machine import drivers

HERE, NOT_HERE = (
    "libc.so.6",
    "libcuda_of_nobody.so.1",
)  # a library that loads, and one that does not


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four GPUs, of which a container was given numbers 2, 3, 10 and 11."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia10", "nvidia2", "nvidia3", "nvidia11", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()
    return tmp_path


def test_devices_by_number(root: Path) -> None:
    assert gpus.devices(root) == [f"/dev/nvidia{number}" for number in (2, 3, 10, 11)]


@pytest.mark.parametrize(
    ("variable", "visible"),
    [
        (None, ["0", "1", "2", "3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("3,1", ["3", "1"]),
        ("0, 2,-1,1", ["0", "2"]),
        ("1,4,2", ["1"]),
        ("0,0", ["0"]),
        ("GPU-8932f937,MIG-4-5,2", ["GPU-8932f937", "MIG-4-5", "2"]),
    ],
)
def test_the_environment_chooses(
    root: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, visible: list[str]
) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(gpus.VARIABLE, variable)
    assert gpus.visible(root, HERE) == visible
    problem = gpus.problem(root, HERE)
    if visible:
        assert problem is None
    else:
        assert f"CUDA_VISIBLE_DEVICES={variable} hides /dev/nvidia2, " in str(problem)


def test_devices_without_the_driver(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    assert gpus.visible(root, NOT_HERE) == []
    assert f"not the driver's {NOT_HERE}" in str(gpus.problem(root, NOT_HERE))


def test_no_device(tmp_path: Path) -> None:
    assert gpus.visible(tmp_path, HERE) == []
    assert gpus.problem(tmp_path, HERE) == "there is no NVIDIA device"


# -- which card a name stands for -----------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    return drivers.compiled(tmp_path_factory.mktemp("driver"))


def cards_of(variable: str | None, root: Path, driver: str) -> dict[str, str]:
    """By name, as this process's environment shows them."""
    names = tuple(gpus.visible(root, driver))
    return gpus.cards.__wrapped__(names, root, driver)


CARD = [drivers.uuid(card) for card in range(8)]


@pytest.mark.parametrize(
    ("variable", "cards"),
    [
        (None, {str(index): CARD[index] for index in range(8)}),
        ("", {}),
        ("-1", {}),
        ("NoDevFiles", {}),
        ("3", {"3": CARD[3]}),
        ("3,5", {"3": CARD[3], "5": CARD[5]}),
        ("5, 3", {"5": CARD[5], "3": CARD[3]}),
        (f"GPU-{CARD[6]}", {f"GPU-{CARD[6]}": CARD[6]}),
        ("GPU-0707,2", {"GPU-0707": CARD[6], "2": CARD[2]}),
        (f"MIG-{CARD[1]},MIG-{CARD[2]}", {f"MIG-{CARD[1]}": CARD[1], f"MIG-{CARD[2]}": CARD[2]}),
        ("2,GPU-beef,3", {"2": CARD[2]}),
        ("GPU-beef", {}),
        ("MIG-beef", {}),
        ("8", {}),
    ],
)
def test_cuda_says_which_card_a_name_stands_for(
    tmp_path: Path,
    driver: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    cards: dict[str, str],
) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(gpus.VARIABLE, variable)
    root = drivers.with_nodes(tmp_path, range(8))
    assert cards_of(variable, root, driver) == cards


def test_the_order_of_cards_is_cudas(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA_DEVICE_ORDER decides: index 3 is whichever card CUDA gives it."""
    monkeypatch.setenv(gpus.VARIABLE, "3")
    monkeypatch.setenv("FAKE_CUDA_ORDER", "reversed")
    assert cards_of("3", drivers.with_nodes(tmp_path, range(8)), driver) == {"3": CARD[4]}


def test_where_cuda_does_not_answer_the_number_of_the_node_stands_for_the_card(
    tmp_path: Path,
) -> None:
    """A container that was given /dev/nvidia3 alone: its index 0, and the host's card 3."""
    root = drivers.with_nodes(tmp_path, [3])
    names = ("0", "GPU-beef")
    for library in (HERE, NOT_HERE):  # without cuInit, and without a library at all
        assert gpus.cards.__wrapped__(names, root, library) == {
            "0": "/dev/nvidia3",
            "GPU-beef": "GPU-beef",
        }
