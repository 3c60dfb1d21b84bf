#!/bin/sh
# Starts systemd as PID 1 of the file system $1. Runs as the first process of namespaces of its
# own (pid, mount, uts, ipc, cgroup; mounts propagate nowhere), so that all of it ends with it.
set -eu
root=$1
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sys sys
# A hierarchy of its own below the cgroup that it was started in, as in a container.
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs tmp tmp
mount -t tmpfs -o mode=755 dev dev
# Nodes of its own: services change owner and mode of what they are given, and a node that is
# bound here would be the host's. The console is one that swallows.
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "console 1 3"; do
	# shellcheck disable=SC2086 # three words
	set -- $device
	mknod -m 666 "dev/$1" c "$2" "$3"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . mnt
cd /
umount -l mnt
exec env -i container=cwt PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --log-target=null --show-status=no
