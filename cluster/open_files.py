"""How many connections a process may hold: as many as the system lets it, and not the few that it starts with."""

import resource

ENOUGH = 1 << 16


def allow_many_open_files() -> None:
    """Up to the hard limit, which is the operator's word. An event stream is an open file; the usual start is 1024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:  # macOS says so, and takes no such number
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, ENOUGH), most))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
