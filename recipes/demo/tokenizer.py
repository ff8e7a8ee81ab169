"""A tokenizer of whole words for instructions and single characters for everything else.

transformers and vLLM load the tokenizer of a `qwen2` model as `Qwen2Tokenizer`, whatever class was saved, and keep
only its vocabulary and merges. So both are built for that class: byte-level BPE that splits off each digit, and
takes a word together with the space before it. Merges exist only along the instruction words, and each begins with
a space or a capital. Quoted operands and answers, which begin with neither, stay single characters.
"""

import re
from collections.abc import Iterable

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

PAD_TOKEN = "<|pad|>"
END_TOKEN = "<|im_end|>"  # verl looks this name up in the tokenizer of every qwen2 model
_ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|im_end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

#: How a byte-level alphabet writes the space before a word.
_SPACE = "Ġ"


def instruction_words(prompts: Iterable[str]) -> list[str]:
    """Return the words and marks of prompts that deserve a token of their own, sorted.

    Quoted text is left out, since it holds the operands. A word that follows a space keeps it, and so do the
    opening quotes.
    """
    words: set[str] = set()
    for prompt in prompts:
        bare = re.sub(r'"[^"]*"', '"', prompt)
        words.update(re.findall(r' [A-Za-z]{2,}|^[A-Z][a-z]+| "', bare))
    return sorted(words)


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer in which each word is one token.

    Args:
        words: What should be one token each, with its leading space if it has one (see `instruction_words`).

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
