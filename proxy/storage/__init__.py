"""Whole, verified entries under opaque keys: the port (`base`) and its implementations."""
