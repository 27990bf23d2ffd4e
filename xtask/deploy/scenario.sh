#!/bin/sh
# What happens to the package and its service on a machine that systemd runs; see boot.sh. The packages are /mnt/1.deb,
# 2.deb and 3.deb, each newer than the one before.
set -eu

step() {
    echo "-- $*"
}

fail() {
    echo "FAILED: $*"
    systemctl --no-pager --full status maitred.service || true
    journalctl --no-pager --output=short-precise --unit=maitred.service | tail -n 60
    exit 1
}

# Waits for at most ten seconds until the command succeeds.
await() {
    for _ in $(seq 100); do
        if "$@"; then
            return 0
        fi
        sleep 0.1
    done
    fail "waited in vain for: $*"
}

property() {
    systemctl show --property="$1" --value maitred.service
}

answers() {
    curl --silent --fail --max-time 2 --output /tmp/answer http://127.0.0.1:8080/ && grep -q "$1" /tmp/answer
}

install() {
    dpkg --no-triggers --install "/mnt/$1.deb" >/tmp/dpkg 2>&1 || { cat /tmp/dpkg; fail "dpkg cannot install $1.deb"; }
    cat /tmp/dpkg
}

write_page() {
    printf '[routes.page]\npath = "%s"\nrespond = { status = 200, body = "%s" }\n' "$1" "$2" >/etc/maitred/conf.d/page.toml
}

# A watchdog that bites early, through everything that follows.
mkdir -p /etc/systemd/system/maitred.service.d
printf '[Service]\nWatchdogSec=4s\n' >/etc/systemd/system/maitred.service.d/watchdog.conf

step "a first installation makes a user, enables the service and starts it"
install 1
systemctl is-enabled --quiet maitred.service || fail "not enabled"
systemctl is-active --quiet maitred.service || fail "not active"
answers "maitred is up" || fail "a service that systemd calls active does not answer"
pid=$(property MainPID)
[ "$(stat -c %U:%G "/proc/$pid")" = maitred:maitred ] || fail "runs as $(stat -c %U:%G "/proc/$pid")"
[ "$(stat -c %a /run/maitred)" = 750 ] || fail "/run/maitred has the mode $(stat -c %a /run/maitred)"
grep -q '^CapEff:\s*0000000000000400$' "/proc/$pid/status" || fail "has other capabilities than to bind ports"

step "what the unit closes does not stand in the way"
if journalctl --unit=maitred.service | grep -iE 'EPERM|operation not permitted'; then
    fail "something was not permitted"
fi
curl --silent --fail --output /tmp/metrics http://127.0.0.1:9911/metrics || fail "no metrics"
grep -q '^process_start_time_seconds' /tmp/metrics || fail "no metrics of the process"
promtool check metrics </tmp/metrics || fail "Prometheus does not like the metrics"
maitred status --quiet || fail "\`maitred status\` does not reach the service"

step "a reload takes a new configuration, in the same process"
write_page /page new
systemctl reload maitred.service || fail "the reload failed"
[ "$(curl --silent http://127.0.0.1:8080/page)" = new ] || fail "the new configuration is not served"
[ "$(property MainPID)" = "$pid" ] || fail "the reload changed the process"

step "a reload that is refused fails, and the old configuration goes on"
echo 'mistake = 1' >>/etc/maitred/conf.d/page.toml
if systemctl reload maitred.service; then
    fail "systemctl calls a refused reload a success"
fi
systemctl is-active --quiet maitred.service || fail "a refused reload ended the service"
[ "$(curl --silent http://127.0.0.1:8080/page)" = new ] || fail "the old configuration is not served any more"
write_page /page new
systemctl reload maitred.service || fail "no reload after a refused one"

step "logrotate moves the access log away, and maitred opens it anew"
cat >/etc/maitred/conf.d/log.toml <<'END'
[logging]
access = { format = "json", output = "/var/log/maitred/access.log" }
END
systemctl reload maitred.service || fail "the reload failed"
answers "maitred is up"
logged() { [ -s /var/log/maitred/access.log ]; }
await logged
logrotate --force --state /tmp/logrotate /etc/logrotate.d/maitred || fail "logrotate failed"
[ -s /var/log/maitred/access.log.1 ] || fail "nothing was rotated"
opened() { answers "maitred is up" && logged; }
await opened

step "an upgrade of the package drops no request"
wrk -t1 -c16 -d8s --timeout 10s http://127.0.0.1:8080/ >/tmp/kept &
kept=$!
wrk -t1 -c16 -d8s --timeout 10s -H 'Connection: close' http://127.0.0.1:8080/ >/tmp/closed &
closed=$!
sleep 1
install 2
sleep 1
wait "$kept" "$closed"
cat /tmp/kept /tmp/closed
if grep -hE 'Socket errors|Non-2xx' /tmp/kept /tmp/closed; then
    fail "requests were dropped"
fi
upgraded=$(property MainPID)
[ "$upgraded" != "$pid" ] || fail "the old process still is the main one"
running=$(stat -L -c %i "/proc/$upgraded/exe")
[ "$running" = "$(stat -c %i /usr/bin/maitred)" ] || fail "the main process runs another binary than the installed one"
ended() { [ ! -e "/proc/$pid" ]; }
await ended
systemctl is-active --quiet maitred.service || fail "not active after the upgrade"
[ "$(property NRestarts)" = 0 ] || fail "systemd restarted the service"

step "the upgraded service reloads as before"
write_page /page newer
systemctl reload maitred.service || fail "the reload failed"
[ "$(curl --silent http://127.0.0.1:8080/page)" = newer ] || fail "the new configuration is not served"
[ "$(property MainPID)" = "$upgraded" ] || fail "the reload changed the process"

step "a new version that does not take the configuration leaves the old process alone"
echo 'mistake = 1' >>/etc/maitred/conf.d/page.toml
install 3
grep -q 'goes on serving' /tmp/dpkg || fail "the package does not say that the old process goes on"
grep -q 'E0102' /tmp/dpkg || fail "the package does not say what is wrong"
[ "$(property MainPID)" = "$upgraded" ] || fail "the process changed"
answers "maitred is up" || fail "the old process does not serve any more"

step "and is brought to serve by hand once that is corrected"
write_page /page newest
maitred upgrade || fail "\`maitred upgrade\` failed"
[ "$(property MainPID)" != "$upgraded" ] || fail "the old process still is the main one"
[ "$(curl --silent http://127.0.0.1:8080/page)" = newest ] || fail "the new process has the old configuration"

step "a binary that fails to take over leaves the old process alone"
pid=$(property MainPID)
if maitred upgrade --binary /bin/false; then
    fail "upgraded to a program that does nothing"
fi
[ "$(property MainPID)" = "$pid" ] || fail "the process changed"
systemctl is-active --quiet maitred.service || fail "the service ended"
answers "maitred is up" || fail "the old process does not serve any more"

step "a process that dies, and one that hangs, is started again"
restarted() { [ "$(property MainPID)" != "$pid" ] && systemctl is-active --quiet maitred.service; }
for signal in KILL STOP; do
    pid=$(property MainPID)
    kill "-$signal" "$pid"
    await restarted
    await answers "maitred is up"
done
[ "$(property NRestarts)" = 2 ] || fail "systemd restarted the service $(property NRestarts) times"

step "a configuration that is wrong is not tried again and again"
echo 'mistake = 1' >>/etc/maitred/conf.d/page.toml
if systemctl restart maitred.service; then
    fail "started with a wrong configuration"
fi
systemctl is-failed --quiet maitred.service || fail "systemd tries again"
[ "$(property ExecMainStatus)" = 3 ] || fail "ended with $(property ExecMainStatus)"
rm /etc/maitred/conf.d/*.toml
systemctl restart maitred.service || fail "does not start with a right one"

step "a stop drains and succeeds"
systemctl stop maitred.service
[ "$(property Result)" = success ] || fail "the stop ended as $(property Result)"
systemctl start maitred.service

step "an upgrade leaves a service alone that was stopped"
systemctl stop maitred.service
install 3
if systemctl is-active --quiet maitred.service; then
    fail "started what somebody had stopped"
fi
systemctl start maitred.service

step "a removal stops it, and a new installation starts it again"
dpkg --no-triggers --remove maitred >/dev/null
if curl --silent --max-time 2 http://127.0.0.1:8080/; then
    fail "still serving"
fi
[ -e /etc/maitred/maitred.toml ] || fail "the configuration went with the package"
install 1
answers "maitred is up" || fail "does not serve after the second installation"

step "a purge leaves nothing but the user"
dpkg --no-triggers --purge maitred >/dev/null
for left in /etc/maitred /var/lib/maitred /var/cache/maitred /var/log/maitred /run/maitred; do
    [ ! -e "$left" ] || fail "$left is left"
done
id maitred >/dev/null || fail "the user went with the package"
echo "-- done"
