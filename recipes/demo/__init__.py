"""The demo's tasks, tokenizer, base model, reward and runner."""
