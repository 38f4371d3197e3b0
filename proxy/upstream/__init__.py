"""The only room that knows hosts and credentials: fetches, and translates every failure once."""
