"""The lab's tokenizer: one token a character, saved as a stock Hugging Face fast tokenizer.

It is Qwen2's tokenizer class without merges. For a Qwen2 model, ``AutoTokenizer`` (and so vLLM) loads this
class with its byte-level pre-tokenizer, whatever the saved files say: any other kind would be read wrongly.

``#`` separates earlier attempts in a reviser's prompt; 7..9 are unused. There is no beginning-of-sequence
token: the engine gets ``tokenizer(prompt)["input_ids"]``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import Qwen2Tokenizer

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
VOCABULARY = (PAD, EOS, UNK, "\n", ".", "=", "#", "1", "2", "3", "4", "5", "6", "7", "8", "9")
IDS = {token: i for i, token in enumerate(VOCABULARY)}
PAD_ID, EOS_ID = IDS[PAD], IDS[EOS]
_NEWLINE_BYTE = "\u010a"  # how a byte-level vocabulary spells a newline
NEWLINE_ID, PROMPT_END_ID = IDS["\n"], IDS["="]

# cell value (0 a blank, 1..6 a symbol) -> token id
_CELL_IDS = np.array([IDS["."], *(IDS[str(v)] for v in range(1, 10))], np.int64)


def build_tokenizer() -> Qwen2Tokenizer:
    """Returns a new tokenizer. ``decode(encode(text)) == text`` for text of the vocabulary."""
    vocabulary = {_NEWLINE_BYTE if token == "\n" else token: id for token, id in IDS.items()}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def save_tokenizer(directory: Path) -> None:
    """Writes tokenizer.json and its configuration into ``directory``."""
    build_tokenizer().save_pretrained(directory)


def grid_tokens(grids: npt.NDArray[np.int8], last: int) -> npt.NDArray[np.int64]:
    """Returns the token ids of ``grids`` (int8[n, 36]) as int64[n, 42]; the last row ends in token ``last``.

    They are the tokenizer's ids of the same text, computed without the text, which is faster.
    """
    n = grids.shape[0]
    tokens = np.full((n, 6, 7), NEWLINE_ID, np.int64)
    tokens[:, :, :6] = _CELL_IDS[grids].reshape(n, 6, 6)
    tokens[:, 5, 6] = last
    return tokens.reshape(n, 42)
