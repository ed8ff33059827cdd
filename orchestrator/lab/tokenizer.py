"""The lab's tokenizers, saved as stock Hugging Face fast tokenizers.

A token is a character (Latin squares), or a word with the space before it (coins). They are Qwen2's tokenizer
class without merges; words are added tokens. For a Qwen2 model, ``AutoTokenizer`` (and so vLLM) loads this
class with its byte-level pre-tokenizer, whatever the saved files say: any other kind would be read wrongly.

With Latin squares ``#`` separates earlier attempts in a reviser's prompt; 7..9 are unused. There is no
beginning-of-sequence token: the engine gets ``tokenizer(prompt)["input_ids"]``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import AddedToken, Qwen2Tokenizer

from orchestrator.problems.coins import ANSWER, MOST_AMOUNT, PROMPT, STEP_WORDINGS

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
VOCABULARY = (PAD, EOS, UNK, "\n", ".", "=", "#", "1", "2", "3", "4", "5", "6", "7", "8", "9")
"""The tokens of Latin squares."""
IDS = {token: i for i, token in enumerate(VOCABULARY)}
PAD_ID, EOS_ID = IDS[PAD], IDS[EOS]
_NEWLINE_BYTE = "\u010a"  # how a byte-level vocabulary spells a newline
NEWLINE_ID, PROMPT_END_ID = IDS["\n"], IDS["="]

# cell value (0 a blank, 1..6 a symbol) -> token id
_CELL_IDS = np.array([IDS["."], *(IDS[str(v)] for v in range(1, 10))], np.int64)


def _words() -> tuple[str, ...]:
    """Returns the words of the texts about coins, with the space before each that does not begin a line."""
    texts = [PROMPT, *STEP_WORDINGS, ANSWER]
    found = [word for text in texts for word in re.findall(r"(?:^| )(?:[a-z]+|[-=])(?![a-z}])", text)]
    return tuple(dict.fromkeys([*found, *(f" {number}" for number in range(MOST_AMOUNT + 1))]))


COIN_VOCABULARY = (PAD, EOS, UNK, "\n", ".", ",", ":", "?", *_words())
"""The tokens of problems of coins."""


def build_tokenizer(vocabulary: Sequence[str] = VOCABULARY) -> Qwen2Tokenizer:
    """Returns a new tokenizer whose ids are the places in ``vocabulary``: special tokens and characters, then
    words. ``decode(encode(text)) == text`` for text of the vocabulary."""
    characters = [token for token in vocabulary if len(token) == 1 or token in (PAD, EOS, UNK)]
    assert list(vocabulary[: len(characters)]) == characters
    tokenizer = Qwen2Tokenizer(
        vocab={_NEWLINE_BYTE if token == "\n" else token: id for id, token in enumerate(characters)},
        merges=[],
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in vocabulary[len(characters) :]])
    return tokenizer


def save_tokenizer(directory: Path, vocabulary: Sequence[str] = VOCABULARY) -> None:
    """Writes tokenizer.json and its configuration into ``directory``."""
    build_tokenizer(vocabulary).save_pretrained(directory)


def grid_tokens(grids: npt.NDArray[np.int8], last: int) -> npt.NDArray[np.int64]:
    """Returns the token ids of ``grids`` (int8[n, 36]) as int64[n, 42]; the last row ends in token ``last``.

    They are the tokenizer's ids of the same text, computed without the text, which is faster.
    """
    n = grids.shape[0]
    tokens = np.full((n, 6, 7), NEWLINE_ID, np.int64)
    tokens[:, :, :6] = _CELL_IDS[grids].reshape(n, 6, 6)
    tokens[:, 5, 6] = last
    return tokens.reshape(n, 42)
