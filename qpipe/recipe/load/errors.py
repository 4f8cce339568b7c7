"""Every error of Hydra, OmegaConf, their parser and YAML becomes a RecipeError here."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from qpipe.errors import RecipeError
from qpipe.recipe import messages
from qpipe.recipe.origins import shown


@contextlib.contextmanager
def our_errors(
    file: Path,
    *,
    overrides: Sequence[str] = (),
    options: Callable[[str], Sequence[str]] = lambda group: (),
    groups: Callable[[], Sequence[str]] = lambda: (),
) -> Iterator[None]:
    """For a block that has Hydra at work on the recipe ``file`` with the overrides ``overrides``.

    ``options`` lists what a config group holds, ``groups`` the config groups that there are.
    """
    try:
        with warnings.catch_warnings():
            # What Hydra (1.3) calls deprecated in a recipe it only warns of.
            warnings.simplefilter("error", UserWarning)
            # Without `_self_` a recipe comes after its defaults, which is what its author means.
            warnings.filterwarnings("ignore", message="(?s).*Defaults list is missing `_self_`")
            yield
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_bad_yaml(error)) from error
    except OverrideParseException as error:
        raise RecipeError(messages.bad_syntax(error.override, str(error))) from error
    except MissingConfigException as error:
        raise RecipeError(_missing_file(error, file, overrides, options)) from error
    except (HydraException, OmegaConfBaseException) as error:
        # Hydra (1.3) often leaves the reason to the error that it was raised from.
        reason = messages.condensed(str(error)) or messages.condensed(str(error.__cause__))
        reason = messages.misspelt_group(str(error), groups()) or reason
        raise RecipeError(f"{shown(str(file))}: {reason}") from error
    except RecursionError as error:
        problem = "it leads back to itself: its defaults list, or an anchor inside what it names"
        raise RecipeError(f"{shown(str(file))}: {problem}") from error
    except (AssertionError, AttributeError, TypeError) as error:
        # Where Hydra (1.3) takes the shape of defaults lists and of its own block for granted.
        problem = "its defaults list or its hydra block is not as Hydra wants it"
        raise RecipeError(f"{shown(str(file))}: {problem} ({error or 'no reason'})") from error
    except (UserWarning, ValueError, OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{shown(str(file))}: {messages.condensed(str(error))}") from error


def _bad_yaml(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    return messages.bad_yaml(mark.name, mark.line + 1, mark.column + 1, problem=problem)


def _missing_file(
    error: MissingConfigException,
    file: Path,
    texts: Sequence[str],
    options: Callable[[str], Sequence[str]],
) -> str:
    missing = str(error.missing_cfg_file)
    group, _, option = missing.rpartition("/")
    overrides = [text for text in texts if group and group in text and option in text]
    parent = re.match(r"In '([^']*)'", str(error))
    where = shown(str(file))
    if overrides:
        where = f"the override {overrides[-1]!r}"
    elif parent and parent[1] != file.stem and option not in file.read_text(encoding="utf-8"):
        where = f"{parent[1]}.yaml"
    return messages.unknown_option(missing, options(group) if group else (), where=where)
