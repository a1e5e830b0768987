"""From a study to an ensemble: members are chosen or trained, joined, scored once on test rows, written and logged."""
