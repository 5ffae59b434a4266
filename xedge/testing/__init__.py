"""What a team's own tests may use: a plugin of pytest with the fixture ``xedge_budget``."""
