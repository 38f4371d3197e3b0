"""The engine: judges freshness, collapses equal requests, keeps whole and verified entries.

The modules that decide (`keys`, `entry`, `freshness`, `status`) are pure; the ones that act
(`documents`, `artifacts`, `flight`) ask them, with the time as an argument.
"""
