#!/usr/bin/env bash
# Stop what start.sh started: exactly the pids in DATA_DIR/pids, newest first.
# Usage: stop.sh DATA_DIR
set -u
[ $# -eq 1 ] || { echo "usage: $0 DATA_DIR" >&2; exit 2; }
[ -f "$1/pids" ] || exit 0

ours() {  # a pid counts only while it still runs one of our programs (pids are reused)
  case "$(cat "/proc/$1/comm" 2>/dev/null)" in
    ceph-mon | ceph-osd | radosgw) [ "$(awk '{print $3}' "/proc/$1/stat" 2>/dev/null)" != Z ] ;;
    *) return 1 ;;
  esac
}
tac "$1/pids" | while read -r pid _; do
  ours "$pid" || continue
  kill -TERM "$pid" 2>/dev/null
  for _ in $(seq 50); do ours "$pid" || break; sleep 0.1; done
  if ours "$pid"; then kill -KILL "$pid" 2>/dev/null; fi
done
rm -f "$1/pids"
