"""Models that xedge builds: the reference Xception, and names from Keras Applications."""
