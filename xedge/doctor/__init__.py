"""Find out whether this machine can run bundles, and what has to be installed first."""
