"""One run: its folder, facts, phases, grid and scores."""
