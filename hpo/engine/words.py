"""What a worker says to the engine."""

METRICS, ERROR, DONE = "metrics", "error", "done"
"""Keys of what a worker returns: a report has its resource and metrics; its last word is done, perhaps an error."""
