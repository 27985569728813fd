"""Real data: text, the built-in language, and the blocks that models train on."""
