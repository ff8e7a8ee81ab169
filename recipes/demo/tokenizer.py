"""A tokenizer of whole words for instructions and single characters for everything else.

transformers and vLLM load the tokenizer of a `qwen2` model as `Qwen2Tokenizer`, whatever class was saved, and keep only
its vocabulary and merges. Both are therefore built for that class: byte-level BPE that separates digits and keeps a
word together with the space before it. Merges exist only within instruction words, which begin with a space or a
capital. Quoted operands and answers begin with neither, so they stay single characters.
"""

import re
from collections.abc import Iterable

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

PAD_TOKEN = "<|pad|>"
END_TOKEN = "<|im_end|>"  # verl looks up this name in the tokenizer of every qwen2 model
_ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|im_end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

#: The space before a word in a byte-level alphabet.
_SPACE = "Ġ"


def instruction_words(prompts: Iterable[str]) -> list[str]:
    """Return the words and marks of prompts that become one token each, sorted.

    Quoted text is left out, because it contains the operands. Words and opening quotes keep the space before them.
    """
    words: set[str] = set()
    for prompt in prompts:
        bare = re.sub(r'"[^"]*"', '"', prompt)
        words.update(re.findall(r' [A-Za-z]{2,}|^[A-Z][a-z]+| "', bare))
    return sorted(words)


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer in which each word is one token.

    Args:
        words: Words that become one token each, with their leading spaces (see `instruction_words`).

    Returns:
        A fast tokenizer with a chat template. Any text encodes without unknown tokens, and decodes to itself up to
        Unicode normalisation (NFC).
    """
    vocabulary = {token: i for i, token in enumerate((PAD_TOKEN, END_TOKEN, *_ROLE_TOKENS))}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    merges: list[tuple[str, str]] = []
    for word in sorted(words):
        symbols = word.replace(" ", _SPACE)
        for end in range(2, len(symbols) + 1):
            if symbols[:end] not in vocabulary:
                vocabulary[symbols[:end]] = len(vocabulary)
                merges.append((symbols[: end - 1], symbols[end - 1]))
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        additional_special_tokens=list(_ROLE_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
