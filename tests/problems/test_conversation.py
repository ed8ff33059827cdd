"""A question as it is put to a model: system prompt, examples, template, the beginning of the answer."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from orchestrator.errors import BadInput
from orchestrator.problems.codec import Codec
from orchestrator.problems.conversation import NOT_VARIABLES, Conversation
from tests.support.public_models import CHATML, save_tokenizer


def codec(path: Path, *, bos: bool = False, template: str | None = CHATML, **around: object) -> Codec:
    tokenizer = save_tokenizer(path, template=template, bos=bos)
    return Codec(tokenizer, "\n\n", conversation=Conversation(**around))  # type: ignore[arg-type]


def shown(codec: Codec, question: str = "1+1?") -> str:
    return codec.tokenizer.decode(list(codec.encode(question)))


def test_a_chat_has_its_system_prompt_its_examples_and_the_beginning_of_the_answer(tmp_path):
    put = codec(tmp_path, chat=True, system="Be brief.", examples=(("2+2?", "4"),), reply="It is")
    assert shown(put) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
        "<|im_start|>assistant\n4<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\nIt is"
    )
    answer = put.continuation(" 2.\n\nYes.")
    assert put.solution(answer) == "It is 2.\n\nYes."
    assert put.step_texts(answer, 0, put.step_ends(answer, 0)) == ("It is 2.", "Yes."), (
        "a verifier reads it too"
    )


def test_options_reach_the_template_and_another_template_takes_its_place(tmp_path):
    template = (
        "{% if thinking %}T{% endif %}{{ messages[-1]['content'] }}:{{ strftime_now('%Y') }}{{ date_string }}"
    )
    put = codec(tmp_path, chat=True, template=None, options={"thinking": True})
    with pytest.raises(BadInput, match=r"generator\.chat: true.*no chat template"):
        put.encode("1+1?")
    put.conversation = Conversation(True, template=template, options={"thinking": True})
    assert shown(put) == "T1+1?:202426 Jul 2024", "a template is told the same day on every day"


def test_a_template_that_refuses_a_chat_is_named(tmp_path):
    refusing = "{{ raise_exception('no system prompt here') }}"
    with pytest.raises(BadInput, match=r"generator\.chat.*no system prompt here"):
        codec(tmp_path, chat=True, template=refusing).encode("1+1?")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for", "is not Jinja \\(line 1: "),
        ("{{ raise_exception('never') }}", "refuses this chat \\(never"),
    ],
)
def test_a_template_of_ones_own_that_fails_is_the_key(tmp_path, template, words):
    put = codec(tmp_path, chat=True)
    put.conversation = Conversation(True, template=template)
    with pytest.raises(BadInput, match=rf"^generator\.chat_template: .*{words}"):
        put.encode("1+1?")
    assert "generator.chat: true" in told(codec(tmp_path, chat=True, template=template))


def told(put: Codec) -> str:
    with pytest.raises(BadInput) as raised:
        put.encode("1+1?")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_transformers_takes_for_itself_is_no_variable_of_a_template(tmp_path):
    own = set(inspect.signature(save_tokenizer(tmp_path).apply_chat_template).parameters)
    assert own - {"tools", "documents", "kwargs"} <= NOT_VARIABLES, "those two are the template's"


@pytest.mark.parametrize("written", [True, False])
def test_a_sequence_begins_once_whether_the_template_writes_it_or_not(tmp_path, written):
    tokenizer = save_tokenizer(tmp_path, bos=True)
    tokenizer.backend_tokenizer.post_processor = _begins_with("<|endoftext|>", tokenizer.bos_token_id)
    template = ("{{ bos_token }}" if written else "") + CHATML
    put = Codec(tokenizer, "\n\n", conversation=Conversation(True, template=template))
    begin = tokenizer.bos_token_id
    assert put.encode("1+1?")[:2].count(begin) == 1
    assert put.encode("1+1?").count(begin) == 1


def _begins_with(token: str, id: int) -> object:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single=f"{token} $A", special_tokens=[(token, id)])


def test_nothing_ends_a_prompt_though_the_tokenizer_ends_texts(tmp_path):
    tokenizer = save_tokenizer(tmp_path, bos=True)
    from tokenizers.processors import TemplateProcessing

    signs = [("<|endoftext|>", tokenizer.bos_token_id), ("<|im_end|>", tokenizer.eos_token_id)]
    ending = TemplateProcessing(single="<|endoftext|> $A <|im_end|>", special_tokens=signs)
    tokenizer.backend_tokenizer.post_processor = ending
    for put in (Conversation(), Conversation(True, template="Q: {{ messages[-1]['content'] }} A:")):
        ids = Codec(tokenizer, "\n", conversation=put).encode("1+1?")
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.eos_token_id not in ids


def test_a_character_that_two_steps_share_is_there_once(tmp_path):
    put = Codec(save_tokenizer(tmp_path), "\n")
    tokens = put.continuation("a 数学 b")
    for cut in range(1, len(tokens)):
        texts = put.step_texts(tokens, 0, (cut, len(tokens)))
        assert "\ufffd" not in "".join(texts)
        assert "".join(texts).replace(" ", "") == "a数学b"


def test_a_delimiter_of_several_tokens_of_bytes_is_found(tmp_path):
    put = Codec(save_tokenizer(tmp_path), "。")
    tokens = put.continuation("一。二。三")
    assert put.step_texts(tokens, 0, put.step_ends(tokens, 0)) == ("一。", "二。", "三")
    assert put.space == ""


def test_a_stop_that_a_delimiter_cuts_hides_what_follows_it_from_a_verifier_too(tmp_path):
    put = Codec(save_tokenizer(tmp_path), "\n\n", stop=("\n\nQuestion:",))
    tokens = put.continuation("One.\n\nQuestion: next?\n\nTwo.")
    assert put.solution(tokens) == "One."
    assert put.step_texts(tokens, 0, put.step_ends(tokens, 0)) == ("One.", "", "")


def test_a_solution_is_read_up_to_its_stop(tmp_path):
    put = Codec(save_tokenizer(tmp_path), "\n", stop=("\nQ:", "###"))
    tokens = put.continuation("so 42.\nQ: 1+1? ### A")
    assert put.solution(tokens) == "so 42."
    assert put.step_texts(tokens, 0, (len(tokens),)) == ("so 42.",)


def test_a_first_step_has_the_reply_and_no_stop(tmp_path):
    put = Codec(save_tokenizer(tmp_path), "\n\n", stop=("###",), conversation=Conversation(reply="So"))
    tokens = put.continuation(" 42. ### Q")
    assert put.step_texts(tokens, 0, put.step_ends(tokens, 0)) == ("So 42.",)


def test_steps_end_where_an_expression_first_matches(tmp_path):
    put = Codec(save_tokenizer(tmp_path), [], step_pattern=r"\n## Step \d+:")
    tokens = put.continuation("First.\n## Step 2: second.\n## Step 3: third")
    ends = put.step_ends(tokens, 0)
    assert put.step_texts(tokens, 0, ends) == ("First.\n## Step 2:", "second.\n## Step 3:", "third")
    assert put.separator == "\n\n"


def test_steps_end_at_any_delimiter_or_at_none(tmp_path):
    tokenizer = save_tokenizer(tmp_path)
    several = Codec(tokenizer, ["\n", "; "])
    tokens = several.continuation("one; two\nthree")
    ends = several.step_ends(tokens, 0)
    assert several.step_texts(tokens, 0, ends) == ("one;", "two", "three")
    assert (several.space, Codec(tokenizer, ". ").space) == ("\n", " ")
    assert Codec(tokenizer, []).step_ends(tokens, 0) == (len(tokens),)
