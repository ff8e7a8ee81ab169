"""What is read from verl's config, and what is refused."""
