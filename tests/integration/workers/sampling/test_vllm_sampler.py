"""How prompts reach vLLM, and what is said where it cannot be; the engine itself runs in tests/end_to_end."""

from types import SimpleNamespace

import pytest

from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.evaluation.sampling import Request
from verl_vip.recipes.demo.tokenizer import build_tokenizer
from verl_vip.workers.sampling.vllm_sampler import VllmSampler, _response, check_room, encode_prompts

TOKENIZER = build_tokenizer(["Spell", " this"])


def request(text, key="sums/p/0"):
    return Request(key, [{"role": "user", "content": text}], 1)


def test_prompts_go_through_the_chat_template_as_verl_encodes_them():
    (tokens,) = encode_prompts(TOKENIZER, [request("Spell this")], chat_template=True).values()
    message = {"role": "user", "content": "Spell this"}
    assert tokens == TOKENIZER.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
    assert all(isinstance(token, int) for token in tokens)


def test_text_as_it_stands():
    (tokens,) = encode_prompts(TOKENIZER, [request("Spell this")], chat_template=False).values()
    assert TOKENIZER.decode(tokens) == "Spell this"


def test_a_tokenizer_without_chat_template_is_refused_in_words():
    bare = build_tokenizer(["Spell"])
    bare.chat_template = None
    with pytest.raises(ConfigError, match="no chat template; add --no-chat-template"):
        encode_prompts(bare, [request("Spell")], chat_template=True)
    assert encode_prompts(bare, [request("Spell")], chat_template=False)


def test_a_prompt_without_room_for_a_response_is_named():
    check_room({"sums/p/0": [1, 2, 3]}, 4)
    with pytest.raises(ConfigError, match=r"prompt of sums/p has 4 tokens, and the engine's limit is 4; raise it with"):
        check_room({"sums/p/0": [1, 2, 3, 4], "sums/q/0": [1]}, 4)


def test_only_an_end_or_a_length_ends_a_response():
    def output(reason):
        completion = SimpleNamespace(finish_reason=reason, text="33", token_ids=[5, 6])
        return SimpleNamespace(request_id="sums/p/0", outputs=[completion], prompt_token_ids=[1, 2, 3])

    response = _response(output("length"))
    assert (response.key, response.text, response.tokens, response.prompt_tokens) == ("sums/p/0", "33", 2, 3)
    with pytest.raises(IntegrationError, match="vLLM ended sums/p/0 with 'abort'; run the same command again"):
        _response(output("abort"))


def test_versions_name_what_samples():
    versions = VllmSampler({"dtype": "float32"}).versions()
    assert versions["engine"] == '{"dtype": "float32"}'
    assert all(versions[name][0].isdigit() for name in ("vllm", "torch", "transformers"))


def test_a_message_without_text_is_refused_where_text_is_all_there_is():
    asked = Request("sums/p/0", [{"role": "assistant", "content": None, "tool_calls": [{}]}], 1)
    with pytest.raises(ConfigError, match="prompt of sums/p does not work with --no-chat-template: a message has no"):
        encode_prompts(TOKENIZER, [asked], chat_template=False)


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{{ 'a' + messages[0].content }}", "{{ x.y.z }}"]
)
def test_a_template_that_cannot_take_a_prompt_is_refused_in_words(template):
    picky = build_tokenizer(["Spell"])
    picky.chat_template = template
    asked = Request("sums/p/0", [{"role": "user", "content": None}], 1)
    with pytest.raises(ConfigError, match=r"the prompt of sums/p does not work with the tokenizer's chat template: .+"):
        encode_prompts(picky, [asked], chat_template=True)
