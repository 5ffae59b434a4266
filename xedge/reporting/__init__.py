"""One page of runs: gathered, drawn and written."""
