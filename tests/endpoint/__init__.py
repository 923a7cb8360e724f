"""The in-process endpoint: served, swapped, crashed; what its handlers print."""
