"""A GGUF file's chat template, as a Go template that was compared with it.

The Go template is made of what the file's own (Jinja) puts between messages, and then both are
asked for the same conversations: it is taken only if they say the same. Tools and thinking are left
out on purpose: Ollama (server/images.go, ``shouldPreferChatTemplate``) takes the file's own
template where it can do more than the Modelfile's, and Go prints JSON with other spaces than Jinja.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from qpipe.errors import DataError
from qpipe.export.ollama import transitions, written
from qpipe.export.ollama.go_prompt import Conversation, prompt
from qpipe.export.ollama.transitions import conversation
from qpipe.hf.chat import DATE, Template

_ANOTHER_DAY = "2031-03-09"
_ODD = 'two\nlines, {{ .Content }}, {% if %}, """, <|x|>, é 🙂'
_SPACES = "  spaces around \n"


@dataclass(frozen=True)
class PromptDifference:
    """A conversation of which two templates make other prompts; ``go`` is None if there is no Go
    template at all."""

    conversation: str
    jinja: str
    go: str | None = None


@dataclass(frozen=True)
class GoTemplate:
    """Result: ``text`` is None where no template says the same, and ``difference`` shows why.

    ``system`` is what the model is told where nobody says anything, ``turn`` the text between an
    answer and the next question, ``checked`` the number of conversations that are equal, ``notes``
    what is known to be otherwise.
    """

    text: str | None
    system: str = ""
    turn: str = ""
    checked: int = 0
    difference: PromptDifference | None = None
    notes: tuple[str, ...] = ()


def go_template(template: Template, *, bos: str | None) -> GoTemplate:
    """Return the Go template for a chat template; ``bos`` is the token that is put before every
    text anyway, and so in no template."""
    asked = _Asked(template, bos)
    if asked.render(conversation("u")) is None:
        return GoTemplate(None, difference=PromptDifference("a question", asked.refusal))
    dated = _Asked(replace(template, day=_ANOTHER_DAY), bos)
    system = _default_system(asked)
    if system != _default_system(dated):
        system = ""
    first = None
    for reading in transitions.readings(asked.render, asked.render_open):
        text = written.write(reading)
        result = _compared(asked, text, system)
        if result.text is not None:
            notes = (*result.notes, *_dated(asked, dated))
            return replace(result, turn=_turn(asked), notes=notes)
        first = first or result
    return replace(first or _no_order(asked), turn=_turn(asked))


@dataclass
class _Asked:
    """A chat template that is asked for prompts; ``refusal`` is what it said when it last
    refused."""

    template: Template
    bos: str | None
    refusal: str = ""

    def render(self, messages: Conversation) -> str | None:
        """Return the prompt of a question."""
        return self._text(lambda: self.template.render_all(messages, add_generation_prompt=True))

    def render_open(self, messages: Conversation) -> str | None:
        """Return the prompt with the last message left open."""
        try:
            self.template.render_all(messages)
        except DataError:
            return None
        return self._text(lambda: self.template.render_open(messages))

    def expected(self, messages: Conversation) -> str | None:
        """Return the prompt that a model is to read: an answer is gone on with."""
        return (self.render_open if messages[-1]["role"] == "assistant" else self.render)(messages)

    def _text(self, render: Callable[[], str]) -> str | None:
        try:
            return render().removeprefix(self.bos or "")
        except DataError as error:
            self.refusal = str(error)
            return None


def _needed() -> Mapping[str, Conversation]:
    """Conversations of which a template has to make the same, or refuse them."""
    names = {"u": "a question", "uau": "two questions", "uauau": "three questions"}
    plain = {name: conversation(roles) for roles, name in names.items()}
    told = {f"a system message and {n}": conversation(f"s{r}") for r, n in names.items()}
    odd = {"special characters": [{"role": "user", "content": _ODD}]}
    return plain | told | odd


def _wanted() -> Mapping[str, Conversation]:
    """Conversations that are seldom, of which a difference is told."""
    empty = {"role": "user", "content": ""}
    return {
        "a begun answer": conversation("ua"),
        "an empty question": [empty],
        "an empty system message": [{"role": "system", "content": ""}, *conversation("u")],
        "a system message among the others": conversation("uasu"),
        "a conversation that begins with an answer": conversation("au"),
    }


def _compared(asked: _Asked, text: str, system: str) -> GoTemplate:
    """A Go template that was compared; without a text if it says something else."""
    equal = 0
    for name, messages in _needed().items():
        expected = asked.expected(messages)
        if expected is None:
            continue
        for own in {"", system} if messages[0]["role"] != "system" else {""}:
            if (made := prompt(text, messages, own)) != expected:
                return GoTemplate(None, difference=PromptDifference(name, expected, made))
            equal += 1
    notes, other = [*_told_nothing(asked), *_spaces(asked, text)], []
    for name, messages in _wanted().items():
        expected = asked.expected(messages)
        if expected is not None and prompt(text, messages) == expected:
            equal += 1
        elif expected is not None:
            other.append(name)
    if other:
        notes.append(f"becomes another prompt than by the file's own template: {', '.join(other)}")
    return GoTemplate(text, system, checked=equal, notes=tuple(notes))


def _spaces(asked: _Asked, text: str) -> Iterator[str]:
    for role in ("u", "su", "uau"):
        messages = [{**each, "content": _SPACES} for each in conversation(role)]
        expected = asked.expected(messages)
        if expected is not None and prompt(text, messages) != expected:
            yield (
                "the file's own template takes spaces and line breaks from the ends of messages, "
                "which a Go template cannot"
            )
            return


def _turn(asked: _Asked) -> str:
    _, answer, question = (each["content"] for each in conversation("uau"))
    text = asked.render(conversation("uau")) or ""
    return text.partition(answer)[2].partition(question)[0]


def _default_system(asked: _Asked) -> str:
    """The text that stands where a system message would, if there is none."""
    told, plain = asked.render(conversation("su")), asked.render(conversation("u"))
    if told is None or plain is None:
        return ""
    system, user = (each["content"] for each in conversation("su"))
    plain = plain.replace(conversation("u")[0]["content"], user)
    if told.count(system) != 1:
        return ""
    before, after = told.split(system)
    framed = plain.startswith(before) and plain.endswith(after)
    if not framed or len(plain) <= len(before) + len(after):
        return ""
    system = plain[len(before) : len(plain) - len(after)]
    return system if system.strip() else ""


def _dated(asked: _Asked, dated: _Asked) -> Iterator[str]:
    """A note of a template that tells the day."""
    both = (conversation(roles) for roles in ("u", "su"))
    if any(asked.render(messages) != dated.render(messages) for messages in both):
        yield f"the model is told the date, which is the same every day in a Go template: {DATE}"


def _told_nothing(asked: _Asked) -> Iterator[str]:
    if asked.render(conversation("su")) is None:
        yield "the file's own template takes no system message: one is left out of the prompt"


def _no_order(asked: _Asked) -> GoTemplate:
    """No template: messages could not be told apart, or what is between them hangs on more than
    their roles."""
    for name, messages in _needed().items():
        shown = asked.render(messages)
        if shown is not None and any(shown.count(each["content"]) != 1 for each in messages):
            return GoTemplate(None, difference=PromptDifference(name, shown))
    messages = conversation("suauau")
    shown = asked.render(messages) or asked.refusal
    return GoTemplate(None, difference=PromptDifference("three questions", shown))
