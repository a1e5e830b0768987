"""The study on disk: what is searched, its trials, its artifacts, and who may write to it."""

POOL = 50
"""So many of the best trials are candidates for an ensemble and keep their artifacts, where nothing else is said."""
MEMBERS = 5
"""So many members an ensemble has, and so many of the best trials no limit of the disk removes, likewise."""
