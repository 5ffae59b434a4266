"""From an artifact that others made to a bundle: read the file, ask what no file tells, run it here, measure it."""
