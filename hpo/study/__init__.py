"""The study on disk: what is searched, its trials, its artifacts, and who may write to it."""
