"""Bundles: what one says about itself, and how it is written and opened."""
