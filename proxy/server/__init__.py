"""From bytes on a socket to a walk through the rooms, and back."""
