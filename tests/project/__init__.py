"""The repository as a whole: set-up, pages, command, security, the house."""
