"""Inspect models and bundles: do they agree, which layers lose accuracy, and what do they cost?"""
