"""Sweeps: qpipe's Hydra launcher, which takes all jobs as one batch, and its plain sweeper."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import math
import pickle
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qpipe.errors import RecipeError
from qpipe.recipe import messages
from qpipe.recipe.draft import GuideDraft
from qpipe.recipe.load.base import Base
from qpipe.recipe.load.compose import Composer
from qpipe.recipe.load.errors import our_errors
from qpipe.recipe.load.quoting import quoted
from qpipe.recipe.overrides import varying
from qpipe.recipe.references import targets
from qpipe.recipe.request import InvalidJob, Job

JobsHandler: TypeAlias = (
    "Callable[[Sequence[Job | InvalidJob]], Sequence[float | Sequence[float] | None]]"
)
"""Takes a batch of jobs; gives the objective of each (None: it has none), for sweepers."""

# More jobs than this are a slip of the pen, unless hydra.sweeper.max_jobs says otherwise.
_MOST_JOBS = 10_000

# The sweeper that is guided by what it measures.
PARETO = "qpipe_pareto"

# Where ``sweep=NAME`` has its params, which stand in the place of a recipe's own.
_CHOSEN = "vars.chosen_sweep"

_PLUGINS = "hydra_plugins"
_HOME = f"{_PLUGINS}.qpipe"
_BASIC = "hydra._internal.core_plugins.basic_"


class QpipeLauncher(Launcher):
    """Hands all jobs of a sweep on at once; what runs when is the executor's business."""

    __module__ = _HOME

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra passes on as its task function."""
        assert isinstance(task_function, _Batches)
        self.batches = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Compose all jobs, then run them; a wrong one stops the sweep before anything ran."""
        return self.batches.launch(job_overrides, initial_job_idx)


class QpipeSweeper(Sweeper):
    """The product of all sweeps, as Hydra's BasicSweeper (1.3) makes it.

    Unlike that one it writes no multirun.yaml, does not compose every job twice, and passes
    overrides on as they were written.
    """

    __module__ = _HOME

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, str] | None,
        max_jobs: int = _MOST_JOBS,
    ) -> None:
        self.max_batch_size = max_batch_size
        self.params = params or {}
        self.max_jobs = max_jobs
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Get the launcher."""
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Launch all jobs, in one batch unless ``max_batch_size`` says less."""
        assert self.launcher is not None
        params = quoted(f"{name}={value}" for name, value in self.params.items()).texts
        overrides = self.parser.parse_overrides(arguments)
        _refuse_two_sweeps_of_a_key(overrides)
        choices: dict[str, list[str]] = {}
        for override in [*self.parser.parse_overrides([*params]), *overrides]:
            choices[override.get_key_element()] = _choices(override, self.max_jobs)
        if math.prod(map(len, choices.values())) > self.max_jobs:
            raise RecipeError(messages.too_many_jobs(self.max_jobs))
        jobs = list(itertools.product(*choices.values()))
        size = len(jobs) if self.max_batch_size is None else self.max_batch_size
        if size < 1:
            raise RecipeError(f"hydra.sweeper.max_batch_size: {size}: it is 1 or more, or null")
        for first in range(0, len(jobs), size):
            self.launcher.launch(jobs[first : first + size], first)


def _refuse_two_sweeps_of_a_key(overrides: Sequence[Override]) -> None:
    """The later would take the place of the earlier, and a dimension would be lost in silence."""
    by_key: dict[str, Override] = {}
    for override in overrides:
        earlier = by_key.setdefault(override.get_key_element(), override)
        if earlier is not override and (
            earlier.is_sweep_override() or override.is_sweep_override()
        ):
            raise RecipeError(
                f"the overrides {earlier.input_line!r} and {override.input_line!r} are of one key; "
                "write all of its values into one of them"
            )


def _choices(override: Override, most: int) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise RecipeError(
            f"the override {override.input_line!r}: an interval has no end of values; list some, "
            "or choose a sweeper that searches, such as hydra/sweeper=optuna"
        )
    if override.is_range_sweep():
        values_range = override.value()
        if isinstance(values_range, RangeSweep) and _length(values_range) > most:
            raise RecipeError(messages.too_many_jobs(most))
    try:
        values = list(itertools.islice(override.sweep_string_iterator(), most + 1))
    except (HydraException, ValueError) as error:
        raise RecipeError(f"the override {override.input_line!r}: {error}") from error
    if not values:
        raise RecipeError(f"the override {override.input_line!r}: it comes to no value at all")
    return [f"{override.get_key_element()}={value}" for value in values]


def _length(sweep_range: RangeSweep) -> float:
    """About how many values a range has.

    Of one that is shuffled Hydra (1.3) makes a list before it gives the first.
    """
    assert sweep_range.start is not None and sweep_range.stop is not None
    step = float(sweep_range.step) or 1.0
    return (float(sweep_range.stop) - float(sweep_range.start)) / step


class QpipeParetoSweeper(QpipeSweeper):
    """The same jobs, of which those are measured further that may be what is looked for."""

    __module__ = _HOME

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, str] | None,
        max_jobs: int = _MOST_JOBS,
        **settings: Any,
    ) -> None:
        """Raises RecipeError for settings that do not go together."""
        if max_batch_size is not None:
            raise RecipeError(
                f"hydra.sweeper.max_batch_size={max_batch_size}: a guided sweep compares all "
                "levels with each other, in one batch; leave it out"
            )
        from qpipe.recipe.guide import guide  # pydantic, which composing does without

        super().__init__(max_batch_size, params, max_jobs)
        self.guide = guide(settings)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Get the launcher, and have it say what is looked for."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert isinstance(task_function, _Batches)
        task_function.guide = self.guide


@dataclass
class _LauncherConf:
    _target_: str = f"{_HOME}.{QpipeLauncher.__name__}"


@dataclass
class _SweeperConf:
    _target_: str = f"{_HOME}.{QpipeSweeper.__name__}"
    max_batch_size: int | None = None
    max_jobs: int = _MOST_JOBS
    params: dict[str, str] | None = None


@dataclass
class _ParetoConf(_SweeperConf):
    """Values of any type: `qpipe.recipe.guide.GuideSpec`, with the same defaults, checks them."""

    _target_: str = f"{_HOME}.{QpipeParetoSweeper.__name__}"
    find: Any = "front"
    max_size: Any = None
    max_kld: Any = None
    confidence: Any = 0.95
    first: Any = 16
    whole: Any = False


# The sweepers that come with qpipe; others are what is installed as a plugin of Hydra's.
_OURS = (_SweeperConf._target_, _ParetoConf._target_)


@functools.cache
def register() -> None:
    """Make launcher and sweeper known to Hydra."""
    version.setbase("1.3")
    setup_globals()
    for group, node in (("launcher", _LauncherConf), ("sweeper", _SweeperConf)):
        ConfigStore.instance().store(group=f"hydra/{group}", name="qpipe", node=node)
    Plugins.instance().register(QpipeLauncher)
    ConfigStore.instance().store(group="hydra/sweeper", name=PARETO, node=_ParetoConf)
    Plugins.instance().register(QpipeSweeper)
    Plugins.instance().register(QpipeParetoSweeper)
    # Hydra (1.3) finds plugins by importing their names, and takes them from `hydra_plugins` alone,
    # a package which is there only if some plugin is installed.
    with contextlib.suppress(ImportError):
        importlib.import_module(_PLUGINS)
    sys.modules.setdefault(_PLUGINS, types.ModuleType(_PLUGINS))
    sys.modules[_HOME] = sys.modules[__name__]


class _Batches:
    """Between a sweeper and the handler: composes each batch and returns its objectives."""

    def __init__(self, composer: Composer, handle: JobsHandler, *, whole: bool) -> None:
        self.composer = composer
        self.handle = handle
        self.whole = whole
        self.fixed = {override.get_key_element() for override in composer.fixed()}
        self.guide: GuideDraft | None = None
        self.error: BaseException | None = None

    def __call__(self, config: DictConfig) -> Any:
        """The task function that Hydra wants; our launcher never calls it."""
        raise NotImplementedError

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Compose and run one batch."""
        try:
            varied = varying(jobs, fixed=self.fixed, whole=self.whole)
            batch = self.composer.batch(jobs, varied, first=first, whole=self.whole)
            batch = [replace(j, guide=self.guide) if isinstance(j, Job) else j for j in batch]
            objectives = self.handle(batch)
        except BaseException as error:
            # Kept, so that it can be told from an error of the sweeper's own.
            self.error = error
            raise
        return [
            JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=objective)
            for job, objective in zip(batch, objectives, strict=True)
        ]


def sweep(composer: Composer, master: Base, handle: JobsHandler, *, folder: Path | None) -> None:
    """Have the recipe's sweeper launch the jobs of a request. See `drive`."""
    with tempfile.TemporaryDirectory() as nowhere:
        config = _sweep_config(composer, master, folder or Path(nowhere))
        settings = config.hydra.sweeper
        ours = _target(settings) in _OURS
        batches = _Batches(composer, handle, whole=ours and settings.max_batch_size is None)
        context = HydraContext(config_loader=composer.loader, callbacks=Callbacks())
        try:
            sweeper = Plugins.instance().instantiate_sweeper(
                hydra_context=context, task_function=batches, config=config
            )
            sweeper.sweep(arguments=list(composer.task))
        except OverrideParseException as error:
            message = messages.bad_syntax(error.override, str(error))
            raise RecipeError(f"hydra.sweeper.params: {message}") from error
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            if error is batches.error:
                raise
            reason = messages.condensed(str(error))
            raise RecipeError(f"the sweeper {_target(settings)}: {reason}") from error


def refuse_guide_alone(master: Base) -> None:
    """Raise RecipeError for a guided sweep that is no sweep."""
    if _target(master.config.hydra.sweeper) == _ParetoConf._target_:
        raise RecipeError(
            f"hydra/sweeper={PARETO} guides a sweep: add -m and the levels to choose among, such "
            "as -m quantize.type=Q8_0,Q6_K,Q4_K_M"
        )


def _sweep_config(composer: Composer, master: Base, folder: Path) -> DictConfig:
    """A configuration for sweepers: a job without the swept overrides, and Hydra's own settings.

    The params of a sweep that was chosen by name take the place of all others.
    """
    config: DictConfig = pickle.loads(pickle.dumps(master.config))
    chosen = OmegaConf.select(config, _CHOSEN)
    if chosen is not None:
        config.hydra.sweeper.params = _without_others(chosen, composer)
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    groups = any(map(composer.is_group, [*composer.swept(), *map(str, params)]))
    for override in composer.fixed():
        # With another option of a group that is swept it may fit: each job tells.
        with contextlib.suppress(*([RecipeError] if groups else [])):
            composer.apply_values([override], config, master)
    hydra = config.hydra
    launcher = _target(hydra.launcher)
    if launcher not in (_LauncherConf._target_, f"{_BASIC}launcher.BasicLauncher"):
        raise RecipeError(messages.not_launchable(launcher))
    # A recipe that does not build on config.yaml has Hydra's own (1.3), which write to disk.
    hydra.launcher = OmegaConf.structured(_LauncherConf)
    if _target(hydra.sweeper) == f"{_BASIC}sweeper.BasicSweeper":
        hydra.sweeper._target_ = _SweeperConf._target_
    hydra.mode = RunMode.MULTIRUN
    hydra.sweep.dir = str(folder)
    hydra.overrides.task = list(composer.task)
    with our_errors(composer.file):
        named = targets(OmegaConf.to_container(hydra.sweeper, resolve=True))
    for target in named - composer.loader.trusted - {*_OURS}:
        raise RecipeError(messages.holds_target(f"hydra.sweeper ({target})"))
    _refuse_code(hydra.sweeper)
    return config


def _without_others(chosen: DictConfig, composer: Composer) -> dict[str, str]:
    """The params of a sweep by name, but for those of a block that an override fills otherwise:
    ``quantize=gptq`` has no use for types of GGUF."""
    params = {str(key): str(value) for key, value in chosen.items()}
    given = {o.key_or_group: o.value() for o in map(composer.parse, composer.task)}
    others = tuple(
        group + "."
        for group, option in params.items()
        if composer.is_group(group) and given.get(group, option) != option
    )
    return {key: value for key, value in params.items() if not key.startswith(others)}


def _refuse_code(settings: DictConfig) -> None:
    """Raise for what a sweeper plugin would import (hydra-optuna-sweeper 1.2: a function of a
    module, and a storage whose URL chooses a database driver; Redis would unpickle)."""
    custom = OmegaConf.select(settings, "custom_search_space")
    if custom is not None:
        raise RecipeError(messages.names_code("hydra.sweeper.custom_search_space", custom))
    storage = OmegaConf.select(settings, "storage")
    if storage is not None and not str(storage).startswith("sqlite:///"):
        message = messages.names_code("hydra.sweeper.storage", storage)
        raise RecipeError(f"{message}; give null or a file, sqlite:///PATH")


def _target(plugin: Any) -> str:
    """The class that a plugin's settings name; empty if a recipe replaced them."""
    return str(plugin.get("_target_", "")) if isinstance(plugin, DictConfig) else ""
