"""Photos: sets of them on disk, and the way from a photo to a model's input."""
