"""What recorded outcomes of a pool of prompts let one expect from counts and choices by prediction."""
