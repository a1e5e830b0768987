"""Trials on Ray: Ray Tune as a driver of the controller, its workers, its cluster, and jobs that train members."""
