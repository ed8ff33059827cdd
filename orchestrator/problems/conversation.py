"""How a question is put to a model: as plain text, or as a chat in the model's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import TemplateSyntaxError

from orchestrator.errors import BadInput

TODAY = datetime(2024, 7, 26)
"""The day that templates are told: some write it into the prompt, and a run would differ from itself on the
next one."""

NOT_VARIABLES = frozenset(
    [
        *("self", "conversation", "conversations", "messages", "add_generation_prompt", "chat_template"),
        *("continue_final_message", "tokenize", "tokenizer_kwargs", "padding", "truncation", "max_length"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask"),
    ]
)
"""What ``apply_chat_template`` takes for itself, and is no variable that a user gives a template."""

Turn = Mapping[str, str]
"""``role`` and ``content`` of a message."""


@dataclass(frozen=True)
class Conversation:
    """What stands around a question."""

    chat: bool = False
    """Whether the question is a user's message in the model's chat template."""
    system: str | None = None
    """The system prompt of a chat."""
    examples: tuple[tuple[str, str], ...] = ()
    """Questions and answers of a chat, before the question."""
    template: str | None = None
    """A chat template in place of the tokenizer's own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template, such as ``enable_thinking``."""
    reply: str = ""
    """Text that begins the model's answer."""

    def turns(self, question: str) -> list[Turn]:
        """Returns the messages of a chat that ends with the question."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        pairs = [
            turn
            for asked, answered in self.examples
            for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": answered})
        ]
        return [*system, *pairs, {"role": "user", "content": question}]


def begun(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Returns the token ids of a text that begins a sequence, with the begin-of-sequence token once.

    Most chat templates write it; where a text has none, it is put there if the tokenizer does so to any text.
    Nothing ends the sequence: it goes on, or is read where it stops.
    """
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    begin = getattr(tokenizer, "bos_token", None)
    if not begin or text.startswith(begin):
        return ids
    usual = tuple(tokenizer("x")["input_ids"])
    return (tokenizer.bos_token_id, *ids) if usual[:1] == (tokenizer.bos_token_id,) else ids


def render_chat(
    tokenizer: Any,
    turns: Sequence[Turn],
    *,
    reply: bool,
    key: str,
    value: object,
    template: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Returns a chat as text in a template; with ``reply``, up to where the assistant's answer begins.

    Raises BadInput that names ``key`` and ``value`` where there is no template, or it refuses the turns.
    """
    if not (template or getattr(tokenizer, "chat_template", None)):
        raise BadInput(key, value, "this model's tokenizer has no chat template")
    variables = {"date_string": TODAY.strftime("%d %b %Y"), "strftime_now": TODAY.strftime, **(options or {})}
    try:
        return tokenizer.apply_chat_template(
            list(turns),
            tokenize=False,
            add_generation_prompt=reply,
            **({"chat_template": template} if template else {}),
            **variables,
        )
    except TemplateSyntaxError as error:
        reason = (
            f"the chat template is not Jinja (line {error.lineno}: {' '.join(str(error.message).split())})"
        )
        raise BadInput(key, value, reason) from error
    except Exception as error:  # others of Jinja's, and those that templates raise themselves
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(key, value, f"the chat template refuses this chat ({reason})") from error
