"""What runs trials: Ray Tune."""
