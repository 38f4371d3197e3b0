"""Tests. `tests.origin` is imported by its full name; the rest mirrors the package."""
