"""How an ensemble is built: members are chosen or trained, joined, scored once on test rows, written, logged."""
