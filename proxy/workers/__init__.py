"""Several processes that answer clients, and the one that looks after them.

Purpose: `serve --workers N`. The *supervisor* reserves the address, starts N workers, starts those
that die again (ever more patiently), owns the admin listener, reads the configuration for all and
passes the operator's wishes on. Each *worker* is the whole proxy (`proxy.app`) with a listening
socket of its own on the shared address (SO_REUSEPORT). With one worker there is no supervisor and
nothing of this package is loaded.

What workers share: the store (one flight for each body, one upkeep at a time: see `proxy.storage`),
the entitlements' last answer (one of them asks: `proxy.access.turn`), and through the supervisor
what one of them learns of the upstream (`news`): that it does not answer, refuses a pull token,
does not have something, has taken something back. Clients' rights come from one reading of the
configuration. All else (parsed documents, connections, short-lived tokens) each has for itself.

The supervisor and a worker speak JSON over a pair of sockets that nobody else can reach
(`channel`). Nothing secret is in arguments or environments: the pull tokens of the environment go
over that socket. A worker whose supervisor has died drains and ends.

Reading: nginx's master process, gunicorn's arbiter; socket(7), SO_REUSEPORT. Non-goals: changing
the number of workers, or the program, while it runs.
"""
