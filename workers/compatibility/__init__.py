"""What is relied on in verl, vLLM and TransferQueue, whether it is there, and what a machine without a GPU needs."""
