"""What the server recorded, as values, as text and as a picture."""
