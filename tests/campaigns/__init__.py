"""Long campaigns, each a program; and their short forms as tests."""
