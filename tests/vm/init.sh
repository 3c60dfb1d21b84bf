#!/bin/sh
# PID 1 of a test machine: sets up what a running system has, loads the modules,
# runs each line of /tests as a command, and powers off.
#
# The host reads the serial console and believes these lines only:
#   VM-BOOTED RELEASE SECONDS     the machine is up, that long after power-on
#   VM-START NAME                 a test begins
#   VM-END NAME CODE              it ended with this exit code
#   VM-VERDICT ok|failed          all ran; nothing after it counts
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t tracefs trace /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/netns
ip link set lo up

while read -r module; do
	insmod "/modules/$module" || echo "module $module does not load"
done </modules/order

read -r up _ </proc/uptime
echo "VM-BOOTED $(uname -r) $up"

verdict=ok
while read -r name deadline command; do
	echo "VM-START $name"
	timeout -s KILL "$deadline" sh -c "$command" </dev/null
	code=$?
	echo "VM-END $name $code"
	[ "$code" -eq 0 ] || verdict=failed
done </tests
echo "VM-VERDICT $verdict"
poweroff -f
