"""With openai 3."""
