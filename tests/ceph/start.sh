#!/usr/bin/env bash
# A real S3 (Ceph's gateway) on 127.0.0.1 for tests, whose lifecycle rules run by a fast clock: one "day" of theirs
# lasts DAY_SECONDS.
#
# Needs Debian's ceph-mon ceph-osd radosgw ceph-common (--no-install-recommends is enough); installs nothing.
#
# Usage:  start.sh DATA_DIR PORT
#   DATA_DIR  is created; must be absent, empty, or left by an earlier run of this script
#   PORT      S3 endpoint; PORT+1 (monitor) and PORT+2..PORT+9 (OSD) are taken too
# Environment (all optional):
#   S3_ACCESS_KEY / S3_SECRET_KEY   default testaccess / testsecret
#   DAY_SECONDS                     default 10
#
# One monitor, one OSD that keeps the objects in memory, one radosgw; no manager.
# Prints "ready" when a signed-in user exists and the endpoint answers.
# Pids go to DATA_DIR/pids (one "pid name" per line); stop with stop.sh DATA_DIR.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: $0 DATA_DIR PORT" >&2; exit 2; }
PORT=$2
ACCESS_KEY=${S3_ACCESS_KEY:-testaccess}
SECRET_KEY=${S3_SECRET_KEY:-testsecret}
DAY_SECONDS=${DAY_SECONDS:-10}
PATH=$PATH:/usr/sbin:/sbin

for tool in ceph ceph-mon ceph-osd radosgw radosgw-admin ceph-authtool monmaptool; do
  command -v "$tool" >/dev/null || { echo "missing $tool: see the package list at the head of $0" >&2; exit 3; }
done

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A fresh, private data directory. Only wipe what carries our own marker.
mkdir -p "$1"
D=$(cd "$1" && pwd)
if [ -n "$(ls -A "$D")" ]; then
  [ -e "$D/.start" ] || { echo "$D is not empty and not ours" >&2; exit 4; }
  "$(dirname "$0")/stop.sh" "$D"
  rm -rf "$D"/{mon,osd,log,tmp,ceph.conf,keyring,monmap,pids}
fi
for p in $(seq "$PORT" $((PORT + 9))); do
  if listening "$p"; then echo "port $p is taken (we need $PORT to $((PORT + 9)))" >&2; exit 5; fi
done
touch "$D/.start"
mkdir -p "$D"/{mon,osd,log,tmp}
: > "$D/pids"

FSID=$(cat /proc/sys/kernel/random/uuid)
OSD_UUID=$(cat /proc/sys/kernel/random/uuid)
MON_ADDR="v2:127.0.0.1:$((PORT + 1))"
export CEPH_CONF=$D/ceph.conf
unset CEPH_ARGS

cat > "$CEPH_CONF" <<CONF
[global]
fsid = $FSID
mon host = [$MON_ADDR]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind port min = $((PORT + 2))
ms bind port max = $((PORT + 9))
# cephx everywhere: with "none" radosgw gives up with get_initial_auth_request -13
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $D/keyring
# keep every file inside the data directory
run dir = $D/tmp
crash dir = $D/tmp
log file = $D/log/\$name.log
mon cluster log file = $D/log/cluster.log
# no admin sockets: their path is limited to 107 bytes
admin socket =
mon data = $D/mon
osd data = $D/osd
# a single OSD, no replicas, few placement groups, no manager to scale them
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
# a lone monitor need not gather map changes for a second before it commits them
paxos propose interval = 0.05
paxos min wait = 0.02

[osd]
osd objectstore = memstore
memstore device bytes = 1073741824

[client]
rgw frontends = beast endpoint=127.0.0.1:$PORT
rgw rados pool pg num min = 1
rgw thread pool size = 32
rgw crypt require ssl = false
# the accelerated clock: a lifecycle day lasts this many seconds
rgw enable lc threads = true
rgw lifecycle work time = 00:00-23:59
rgw lc debug interval = $DAY_SECONDS
rgw lc max worker = 1
rgw lc max objs = 4
CONF

# One keyring for all; the monitor imports every key in it when it is created.
umask 077
ceph-authtool "$D/keyring" --create-keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$D/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
ceph-authtool "$D/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
ceph-authtool "$D/keyring" --gen-key -n client.rgw.a --cap mon 'allow rw' --cap osd 'allow rwx'
monmaptool --create --fsid "$FSID" --addv a "[$MON_ADDR]" "$D/monmap" >/dev/null

daemon() {  # daemon NAME COMMAND...: run in the background, note the pid
  local name=$1; shift
  setsid "$@" </dev/null >"$D/log/$name.out" 2>&1 &
  echo "$! $name" >> "$D/pids"
}
fail() {
  echo "start: $1" >&2
  tail -n 5 "$D"/log/*.out >&2 || true
  "$(dirname "$0")/stop.sh" "$D" || true
  exit 1
}

# monitor
ceph-mon -i a --mkfs --monmap "$D/monmap" --keyring "$D/keyring" >"$D/log/mkfs-mon.out" 2>&1 || fail "monitor mkfs"
daemon mon ceph-mon -f -i a

# OSD: the store is made while the monitor comes up, then registered as osd.0
ceph-osd -i 0 --mkfs --osd-uuid "$OSD_UUID" >"$D/log/mkfs-osd.out" 2>&1 || fail "osd mkfs"
timeout 60 ceph --connect-timeout 30 osd new "$OSD_UUID" 0 >"$D/log/osd-new.out" 2>&1 || fail "osd new"
daemon osd ceph-osd -f -i 0

# a user, then the gateway (both wait for the OSD by themselves)
timeout 90 radosgw-admin user create --uid=test --display-name=test \
  --access-key="$ACCESS_KEY" --secret-key="$SECRET_KEY" >"$D/log/user.out" 2>&1 || fail "user create"
daemon rgw radosgw -f -n client.rgw.a

for _ in $(seq 240); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$PORT" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && timeout 5 head -c 12 <&3 | grep -q ' 200') 2>/dev/null; then
    echo "ready http://127.0.0.1:$PORT"
    exit 0
  fi
  kill -0 "$(tail -n 1 "$D/pids" | cut -d' ' -f1)" 2>/dev/null || fail "radosgw ended"
  sleep 0.25
done
fail "no answer on port $PORT"
