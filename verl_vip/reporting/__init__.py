"""What a run writes down, and the pages made from it."""
