#!/bin/sh
# boot.sh FOLDER: starts a systemd of its own, as process 1 of new namespaces, over a copy-on-write view of this machine.
# It runs FOLDER/scenario.sh as a service and ends with it; FOLDER is /mnt inside. Nothing outlives it, and nothing of
# this machine is written to but FOLDER. Needs root.
set -eu

folder=$(realpath "$1")
inside=${2:-}

if [ -z "$inside" ]; then
    # A control group of our own to be the root inside, so that we can see what is left of it.
    group=
    for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup; do
        if [ "$(stat -f -c %T "$hierarchy" 2>/dev/null)" = cgroup2fs ]; then
            group=$hierarchy/maitred-boot-$$
            break
        fi
    done
    [ -n "$group" ] || { echo "boot.sh: no control groups of version 2 here" >&2; exit 75; }
    mkdir "$group"
    status=0
    sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
        unshare --fork --pid --mount --uts --ipc --net --cgroup --mount-proc --kill-child \
        timeout --kill-after=5 180 sh "$0" "$folder" inside || status=$?
    # Control groups of the dead: deepest first.
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    exit "$status"
fi

if [ "$inside" = inside ]; then
    # `timeout` is process 1 here and must not be: systemd becomes it in a namespace below.
    exec unshare --fork --pid --mount --mount-proc --kill-child sh "$0" "$folder" first
fi

root=$folder/root
mkdir -p "$root" "$folder/layers"
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder/layers"
mkdir "$folder/layers/upper" "$folder/layers/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
# The kernel is everybody's: nobody inside changes its settings.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
for place in run tmp dev; do
    mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
: >"$folder/console"
: >"$root/dev/console"
mount --bind "$folder/console" "$root/dev/console"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$folder" "$root/mnt"
ip link set lo up
hostname boot

# What this machine starts, and the rule by which an image keeps packages from starting anything, stay outside.
for units in etc lib; do
    find "$root/$units/systemd/system/" -depth -type d \( -name '*.wants' -o -name '*.requires' \) -exec rm -r {} +
done
rm -f "$root/usr/sbin/policy-rc.d"
cat >"$root/etc/systemd/system/boot.target" <<'END'
[Unit]
DefaultDependencies=no
Requires=scenario.service
END
cat >"$root/etc/systemd/system/scenario.service" <<'END'
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
SuccessAction=exit-force
FailureAction=exit-force
FailureActionExitStatus=1

[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/scenario.sh
StandardOutput=truncate:/mnt/log
StandardError=inherit
END
exec env -i container=boot PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot --inh-caps=-all \
    unshare --root="$root" /lib/systemd/systemd --system --unit=boot.target --log-target=journal --show-status=no
