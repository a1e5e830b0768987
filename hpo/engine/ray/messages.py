"""What a worker and the engine say to each other."""

INHERITED = "inherited"
"""Key of what a worker is told: a trial's number, its config, and after how many epochs of another's it begins."""
METRICS, ERROR, MEMORY, LATE, DONE = "metrics", "error", "out_of_memory", "late", "done"
"""Keys of what a worker returns: a report has its resource and metrics; its last word is done, perhaps with an error,
whether that was for want of memory, or that the time was over."""
THREADS = "torch_threads"
"""A metric of an epoch that had more threads than its trial has CPUs. It is also the key of what the worker of a
restarted trial is sent: epoch -> threads that it had."""
