"""A search from beginning to end; the plan of one; a trial trained again; ask-and-tell."""
