"""A reward that asks a generative reward model through verl's router, as verl's recipes for such models do."""

import aiohttp


async def compute_score(data_source, solution_str, ground_truth, extra_info=None, *, reward_router_address, **_):
    server = f"http://{reward_router_address}/v1"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server}/models") as answer:
            model = (await answer.json())["data"][0]["id"]
        question = {"model": model, "prompt": solution_str or "?", "max_tokens": 8, "temperature": 0}
        async with session.post(f"{server}/completions", json=question) as answer:
            verdict = (await answer.json())["choices"][0]["text"]
    # The judge is hardly trained: what counts is that its words decide.
    return float(len(verdict) % 2)
