//! Servers as programs of this machine, on free ports, with their data in a temporary folder.

use std::process::{Command, Stdio};

use super::{free_port, until_the_end, wait_for_cluster, wait_for_redis};

/// The newest PostgreSQL that there is, beside the path where Debian keeps it. The server refuses to run as root.
const POSTGRES: &str = r#"
    port=$1; home=$(mktemp -d)
    for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
    as=; [ "$(id -u)" = 0 ] && { chown postgres "$home"; as="setpriv --reuid=postgres --regid=postgres --init-groups"; }
    cd "$home"
    $as initdb --pgdata="$home/data" --username=postgres --auth=trust --encoding=UTF8 --no-sync
    $as postgres -D "$home/data" -k "$home" -h 127.0.0.1 -p "$port" -c max_connections=400 -c fsync=off &
    server=$!
    cat >/dev/null
    kill -INT $server; wait $server; rm -rf "$home"
"#;

const REDIS: &str = r#"
    home=$(mktemp -d); cd "$home"
    redis-server --port "$1" --bind 127.0.0.1 --save '' --appendonly no --dir "$home" &
    server=$!
    cat >/dev/null
    kill $server; wait $server; rm -rf "$home"
"#;

/// A primary and a standby that follows it, on the second and third argument's ports, listening at the first one. Their socket
/// lies in their own folder.
pub const POSTGRES_PAIR: &str = r#"
    listen=$1; one=$2; two=$3; home=$(mktemp -d)
    for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
    as=; [ "$(id -u)" = 0 ] && { chown postgres "$home"; as="setpriv --reuid=postgres --regid=postgres --init-groups"; }
    cd "$home"
    settings="-k $home -h $listen -c max_connections=100 -c fsync=off -c wal_level=replica -c max_wal_senders=5 -c hot_standby=on"
    $as initdb --pgdata="$home/one" --username=postgres --auth=trust --encoding=UTF8 --no-sync
    echo "host all all all trust" | $as tee -a "$home/one/pg_hba.conf"
    $as postgres -D "$home/one" $settings -p "$one" &
    servers=$!
    until $as pg_isready -h 127.0.0.1 -p "$one"; do sleep 0.1; done
    $as pg_basebackup -h 127.0.0.1 -p "$one" -U postgres -D "$home/two" -R -X stream -c fast --no-sync
    $as postgres -D "$home/two" $settings -p "$two" &
    servers="$servers $!"
    cat >/dev/null
    kill -INT $servers; wait $servers; rm -rf "$home"
"#;

/// A master and its replica on the second and third argument's ports, and sentinels on the ports after them, listening at the
/// first argument. Sentinels write their findings into their configuration files.
pub const REDIS_PAIR: &str = r#"
    listen=$1; one=$2; two=$3; shift 3; home=$(mktemp -d); cd "$home"
    common="--bind $listen --protected-mode no --appendonly no --dir $home --repl-diskless-sync-delay 0"
    redis-server --port "$one" --save '' $common &
    servers=$!
    redis-server --port "$two" --save '' $common --replicaof 127.0.0.1 "$one" &
    servers="$servers $!"
    for port in "$@"; do
        printf '%s
' "port $port" "bind $listen" "protected-mode no" "dir $home" "sentinel monitor main 127.0.0.1 $one 2"             "sentinel down-after-milliseconds main 1000" "sentinel failover-timeout main 5000" >"$port.conf"
        redis-server "$home/$port.conf" --sentinel &
        servers="$servers $!"
    done
    cat >/dev/null
    kill $servers; wait $servers; rm -rf "$home"
"#;

/// Starts nodes on the given ports and makes one cluster of them; then waits for the end of its input.
pub const CLUSTER: &str = r#"
    home=$(mktemp -d); cd "$home"; nodes=; servers=
    for port in "$@"; do
        redis-server --port "$port" --bind 0.0.0.0 --protected-mode no --save '' --appendonly no --dir "$home" \
            --cluster-enabled yes --cluster-config-file "$port.conf" --cluster-announce-ip 127.0.0.1 &
        servers="$servers $!"; nodes="$nodes 127.0.0.1:$port"
    done
    for port in "$@"; do until redis-cli -p "$port" ping | grep -q PONG; do sleep 0.1; done; done
    redis-cli --cluster create $nodes --cluster-yes
    cat >/dev/null
    kill $servers; wait $servers; rm -rf "$home"
"#;

pub fn there(program: &str) -> bool {
    let script = "for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done; command -v \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", program]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

pub fn postgres() -> Option<String> {
    there("initdb").then(|| {
        let port = free_port();
        until_the_end(POSTGRES, &[&port.to_string()]);
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    })
}

pub fn redis() -> Option<String> {
    there("redis-server").then(|| {
        let port = free_port();
        until_the_end(REDIS, &[&port.to_string()]);
        wait_for_redis(port);
        format!("redis://127.0.0.1:{port}")
    })
}

pub fn cluster() -> Option<String> {
    there("redis-cli").then(|| {
        let ports = [(); 3].map(|()| free_port());
        let names = ports.map(|port| port.to_string());
        until_the_end(CLUSTER, &names.each_ref().map(|name| &**name));
        wait_for_cluster(ports);
        format!("redis-cluster://127.0.0.1:{}", ports[0])
    })
}
