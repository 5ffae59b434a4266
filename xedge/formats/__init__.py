"""File formats, written with the formats' own libraries."""
