"""Evaluation of bundles on many photos with Dask: chunks of photos, parts of results, statistics over all of them."""
