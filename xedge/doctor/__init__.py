"""Can this machine run bundles, and what has to be installed first?"""
