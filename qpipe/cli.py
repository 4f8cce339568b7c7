"""The command line: finds the verb's module, parses, and turns every end into an exit code.

stdout carries the answer, with ``--json`` exactly one JSON document, also for an error; all else
goes to stderr. Nothing but the verb that was asked for is imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from qpipe import __version__
from qpipe.commands import streams
from qpipe.errors import InterruptedRunError, QpipeError, UsageError, nearest

# Verb → (module of qpipe.commands, what it does), in the order of the help.
VERBS = {
    "run": ("run", "run a recipe; with -m, a sweep over its settings"),
    "plan": ("plan", "what a run would do: hits, misses and why"),
    "estimate": ("estimate", "what a model will take in each format: files, memory, speed"),
    "graph": ("graph", "the graph of a run"),
    "explain": ("explain", "why a node is not cached, field by field"),
    "lock": ("lock", "pin the sources of a recipe, so that runs need no network"),
    "ls": ("ls", "the artifacts in the store"),
    "show": ("show", "everything known of one artifact"),
    "verify": ("verify", "read every byte again, and set damaged artifacts aside"),
    "gc": ("gc", "take artifacts away: the cheapest to make again, the old ones"),
    "rm": ("rm", "remove an artifact, a run's folder, or the folders of old runs"),
    "pin": ("pins", "keep the artifacts of a run from gc"),
    "unpin": ("pins", "let gc have them again"),
    "runs": ("runs", "the runs, and how each ended or how far it is"),
    "status": ("status", "what a run does, what waits, what it took, what is left"),
    "report": ("report", "compare the models of one or more runs"),
    "export": ("export", "models in the form that other tools and hubs take"),
    "reference": ("reference", "a reference's log-probabilities as one file, to share"),
    "repro": ("repro", "published results beside our own, with a verdict on each"),
    "advise": ("advise", "which format, engine and command for a model and a machine"),
    "attest": ("attest", "whether published GGUF files are what their source gives"),
    "check": ("check", "whether what models lost is within bounds: a gate for CI"),
    "inspect": ("inspect", "what a checkpoint holds: tensors, types, bits per weight"),
    "settings": ("settings", "what a recipe may say: every setting, its values and default"),
    "engines": ("engines", "the stages, engines and evaluators, and whether they work here"),
    "doctor": ("doctor", "what works on this machine, and what would make the rest work"),
}

_HELP = """\
usage: qpipe VERB [arguments]      (qpipe VERB --help says more)

Quantize language models as recipes say, and compare what comes out.

{verbs}

  -h, --help    this help
  --version     the version

The store is ./outputs/store unless --store or QPIPE_STORE names another; runs go to
./outputs/runs unless --runs or QPIPE_RUNS does. Exit codes: 0 done, 1 a stage failed, 2 bad usage
or recipe, 3 an engine or tool is missing, 4 a published result or file not reproduced, 130
interrupted; 5 a regression (`qpipe check`), 6 not decided.

Tab completion: eval "$(qpipe -sc install=bash)" (or zsh); qpipe -sc install=fish | source
"""

# What a shell reports for a program that SIGPIPE ended, as `qpipe ls | head` may.
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.prepare()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except streams.AnswerLostError as error:
        streams.give_up_stdout()
        return _fail(error, as_json=False)
    except QpipeError as error:
        return _fail(error, "--json" in arguments)
    except KeyboardInterrupt:
        return _fail(InterruptedRunError("interrupted"), "--json" in arguments)
    except BrokenPipeError:
        streams.give_up_stdout()
        return _BROKEN_PIPE
    except SystemExit as end:  # argparse's --help
        return end.code if isinstance(end.code, int) else 0


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(_help())
        return 2
    verb = arguments[0]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if verb == "--version":
        sys.stdout.write(f"qpipe {__version__}\n")
        return 0
    if verb in ("-sc", "--shell-completion"):
        from qpipe.commands.completion import complete

        complete(arguments[1:], VERBS)
        return 0
    if verb.startswith("-"):
        raise UsageError(f"{verb}: options come after the verb, as in `qpipe ls --json`")
    if verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}; {nearest(verb, VERBS, most=20)}")
    return _run(verb, arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from qpipe.commands.parser import Parser

    _refuse_lost_folder()
    file, what = VERBS[verb]
    module = importlib.import_module(f"qpipe.commands.{file}")
    actions: dict[str, str] = getattr(module, "ACTIONS", {})
    action = next((word for word in arguments if word in actions), None)
    if action is not None:  # whose options and help are its own
        verb, what = f"{verb} {action}", actions[action]
        arguments = [word for at, word in enumerate(arguments) if at != arguments.index(action)]
    parser = Parser(prog=f"qpipe {verb}", description=_sentence(what))
    module.configure(parser, verb)
    options = parser.parse_intermixed_args(arguments)
    with _signals():
        code: int = module.run(options)
    return code


def _refuse_lost_folder() -> None:
    try:
        os.getcwd()  # noqa: PTH109  pathlib costs as much as a light verb may
    except OSError as error:
        raise UsageError(
            f"the current folder cannot be used ({error.strerror}): it was deleted or closed to "
            "you; change to another, as with `cd ~`"
        ) from None


class _signals:  # noqa: N801  contextlib costs as much as this verb may
    """Within, SIGTERM and SIGHUP end a command as Ctrl-C does: workers stopped, finished work kept.

    SIGHUP that is ignored (nohup) stays so. SIGQUIT ends it at once, as ever, but for the cursor,
    which comes back.
    """

    def __enter__(self) -> None:
        import signal

        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        def quit_now(number: int, frame: object) -> None:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        wanted = {signal.SIGTERM: interrupt, signal.SIGHUP: interrupt, signal.SIGQUIT: quit_now}
        self.previous = {
            number: signal.signal(number, handler)
            for number, handler in wanted.items()
            if signal.getsignal(number) != signal.SIG_IGN
        }

    def __exit__(self, *error: object) -> None:
        import signal

        for number, handler in self.previous.items():
            signal.signal(number, handler)


def _fail(error: QpipeError, as_json: bool) -> int:
    if as_json:
        from qpipe.commands.output import print_json

        print_json("error/1", {"error": {"type": type(error).__name__, "message": str(error)}})
        sys.stdout.flush()
    from qpipe.report import text

    print(f"qpipe: {text.message(str(error))}", file=sys.stderr)
    return error.exit_code


def _help() -> str:
    return _HELP.format(verbs="\n".join(f"  {verb:<9} {what}" for verb, (_, what) in VERBS.items()))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
