"""How many connections a process may hold: as many as the system lets it, and not the few that it starts with."""

import resource


def allow_many_open_files() -> None:
    """Up to the hard limit, which is the operator's word. An event stream is an open file; the usual start is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
