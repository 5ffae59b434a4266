"""From the reference graph to artifacts: one file per target."""
