"""Other people's clients against the stand-in: by `make clients`."""
