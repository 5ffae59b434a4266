"""Why an inference takes as long as it does: causes, their cures, and what the cures bring."""
