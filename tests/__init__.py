"""What proves the course: a folder for each room of `tour/`, and more; README.md has the list."""
