#!/bin/sh
# container.sh FOLDER BINARY CONFIG: runs maitred as a container engine would run the image: as process 1, as user 65532
# without capabilities, in a read-only root that holds the binary and its libraries and no shell. Needs root.
set -eu

folder=$(realpath "$1")
binary=$(realpath "$2")
config=$(realpath "$3")

if [ "${4:-}" != inside ]; then
    exec unshare --mount --net --ipc --uts timeout --kill-after=5 60 sh "$0" "$folder" "$binary" "$config" inside
fi

step() {
    echo "-- $*"
}

fail() {
    echo "FAILED: $*"
    cat "$folder/said"
    exit 1
}

await() {
    for _ in $(seq 100); do
        if "$@"; then
            return 0
        fi
        sleep 0.1
    done
    fail "waited in vain for: $*"
}

mount --make-rprivate /
ip link set lo up
root=$folder/root
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
mkdir -p "$root/proc" "$root/dev" "$root/etc/maitred" "$root/run/maitred" "$root/var/lib/maitred" "$root/var/cache/maitred"
install -D "$binary" "$root/usr/bin/maitred"
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    install -D "$library" "$root$library"
done
for device in null random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
for place in run/maitred var/lib/maitred var/cache/maitred; do
    mount -t tmpfs -o uid=65532,gid=65532,mode=0750 tmpfs "$root/$place"
done
mount -t tmpfs tmpfs "$root/etc/maitred"
cp "$config" "$root/etc/maitred/maitred.toml"
mount -o remount,ro "$root"

# What `docker exec` does, with the image's environment.
container() {
    nsenter --target "$first" --pid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin MAITRED_CONFIG=/etc/maitred/maitred.toml \
        setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all chroot --userspec=65532:65532 --groups= "$root" "$@"
}

answers() {
    [ "$(curl --silent --fail --max-time 2 http://127.0.0.1:8080/)" = "$1" ]
}

page() {
    printf 'listen = ":8080"\n[routes.page]\npath = "/*"\nrespond = { status = 200, body = "%s" }\n' "$1"
}

step "it serves as process 1"
# shellcheck disable=SC2016 # for the shell inside, whose argument it is
unshare --pid --fork --kill-child env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin MAITRED_CONFIG=/etc/maitred/maitred.toml \
    sh -c 'mount -t proc proc "$1/proc" && exec setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all \
        chroot --userspec=65532:65532 --groups= "$1" /usr/bin/maitred run' sh "$root" >"$folder/said" 2>&1 &
engine=$! first=
# Whatever is inside ends with its process 1.
trap 'kill -KILL ${first:-} "$engine" 2>/dev/null || true' EXIT
serves() { curl --silent --fail --max-time 2 --output /dev/null http://127.0.0.1:8080/; }
await serves
first=$(pgrep --parent "$engine")
grep -q '^NSpid:.*\s1$' "/proc/$first/status" || fail "is not process 1"
grep -q '^CapEff:\s*0000000000000000$' "/proc/$first/status" || fail "has capabilities"

step "the health check of the image passes"
container /usr/bin/maitred status --quiet || fail "\`maitred status --quiet\` fails"

step "a reload takes a new configuration"
page reloaded >"$root/etc/maitred/maitred.toml"
container /usr/bin/maitred reload || fail "the reload failed"
answers reloaded || fail "the new configuration is not served"

step "an upgrade leaves process 1 where it is, and its successor serves"
container /usr/bin/maitred upgrade || fail "the upgrade failed"
[ -e "/proc/$first" ] || fail "process 1 has ended, and with it the container"
answers reloaded || fail "the successor does not serve"
container /usr/bin/maitred status --quiet || fail "the health check fails after the upgrade"
page again >"$root/etc/maitred/maitred.toml"
container /usr/bin/maitred reload || fail "the successor does not reload"
answers again || fail "the new configuration is not served"

step "TERM ends the container, with success"
kill -TERM "$first"
status=0
wait "$engine" || status=$?
[ "$status" -eq 0 ] || fail "ended with $status"
! serves || fail "somebody still serves"
echo "-- done"
