"""What an operator sees: log lines, metrics, request ids.

Purpose: a leaf that every room but the pure ones may use, and that imports none of them.
Nothing here ever waits for a disk or a pipe in a request's path, and nothing here ever fails a
request: what cannot be written is dropped and counted.

Reading: OWASP logging cheat sheet (injection, secrets); Prometheus naming practices.
Non-goals: tracing, shipping logs over the network, rotating files.
"""
