"""With openai 2."""
