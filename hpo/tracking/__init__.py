"""MLflow, the public record: study -> trials -> ensembles."""
