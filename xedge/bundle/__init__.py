"""Bundles: what a bundle says about itself, and how bundles are written and opened."""
