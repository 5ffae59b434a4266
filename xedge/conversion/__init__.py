"""From a model to checked bundles: read, calibrate, convert, run on this machine, write."""
