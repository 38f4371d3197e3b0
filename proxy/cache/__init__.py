"""The engine: judges freshness, collapses equal requests, keeps whole and verified entries.

The modules that decide (`keys`, `entry`, `freshness`, `status`, `transfer`, `verdicts`) are pure;
the ones that act ask them, with the time as an argument. A document is the work of `documents`. An
artifact is found by `artifacts`, if `rights` let it be: stored, or on its way in a `flight`, whose
`leader` is run by `download`, or is another process that `relay` follows; what is `short` comes in
one go.
"""
