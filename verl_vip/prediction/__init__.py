"""What is known of each prompt before it is sampled: identity, embedding, success probability."""
