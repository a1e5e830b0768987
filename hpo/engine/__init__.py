"""What runs trials: Ray Tune, and a simulator; a third engine is the caller's own loop (`searching.ask_tell`)."""
