"""The dependencies of the base and of each extra, against qpipe's own metadata."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from qpipe import __version__
from qpipe.commands.checks.check import Check
from qpipe.stages.base import installed
from qpipe.support import extras

_SELF = "qpipe"
_NO_EXTRAS = ("all", "dev")


def checks() -> list[Check]:
    """A check for each dependency of the base, one for each extra, one for each broken plugin."""
    return [*_own(), *_plugins()]


def _plugins() -> list[Check]:
    """Checks of broken plugins: they are no more than absent, since the base works without them."""
    from qpipe.stages.plugins import plugins

    return [
        Check(f"plugin {plugin.name}", "absent", str(plugin), plugin.fix)
        for plugin in plugins().broken
    ]


def _own() -> list[Check]:
    try:
        own = metadata.distribution(_SELF)
    except metadata.PackageNotFoundError:
        return [
            Check(
                _SELF,
                "absent",
                f"{__version__}, run from its source without being installed: the versions of its "
                "dependencies cannot be checked",
                "pip install -e . -c constraints.txt (in its folder)",
            )
        ]
    requirements = [Requirement(text) for text in own.requires or ()]
    names = [e for e in own.metadata.get_all("Provides-Extra") or () if e not in _NO_EXTRAS]
    return [
        Check(_SELF, "ok", __version__),
        *(_dependency(requirement) for requirement in _of(requirements, "")),
        *(_extra(extra, requirements, extras.command(extra)) for extra in names),
    ]


def _of(requirements: list[Requirement], extra: str) -> list[Requirement]:
    """Requirements that apply here, of an extra or (with none) of the base.

    Other extras of qpipe that an extra names are replaced by what they require.
    """
    applicable: list[Requirement] = []
    for requirement in requirements:
        marker = requirement.marker
        applies = marker is None or marker.evaluate({"extra": extra})
        in_base = marker is None or marker.evaluate({"extra": ""})
        if not applies or (extra and in_base):
            continue
        if requirement.name == _SELF:
            for other in sorted(requirement.extras):
                applicable += _of(requirements, other)
        else:
            applicable.append(requirement)
    return applicable


def _problem(requirement: Requirement) -> str | None:
    """The reason why the installed version does not do, or None."""
    version = installed(requirement.name)
    if version == "missing":
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is not {requirement.specifier}"
    return None


def _dependency(requirement: Requirement) -> Check:
    problem = _problem(requirement)
    if problem is None:
        return Check(requirement.name, "ok", installed(requirement.name))
    fix = f"pip install '{requirement.name}{requirement.specifier}'"
    return Check(requirement.name, "broken", problem, fix)


def _extra(extra: str, declared: list[Requirement], command: str) -> Check:
    requirements = _of(declared, extra)
    problems = [problem for problem in map(_problem, requirements) if problem]
    if not problems:
        versions = ", ".join(f"{r.name} {installed(r.name)}" for r in requirements)
        return Check(f"extra {extra}", "ok", versions)
    return Check(f"extra {extra}", "absent", "; ".join(problems), command)
