"""Do the bundles of a model keep the budgets that a team has written down?"""
