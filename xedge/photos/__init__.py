"""Photos: sets of photos on disk, and the preprocessing that turns a photo into the input of a model."""
