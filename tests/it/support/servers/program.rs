//! Servers run as installed programs, on free ports, with their data in a temporary folder.

use std::process::{Command, Stdio};

use super::{free_port, run_in_background, wait_for_cluster, wait_for_redis};

/// Starts the newest installed PostgreSQL. Debian installs it outside `PATH`. The server refuses to run as root.
const POSTGRES: &str = r#"
    port=$1; dir=$(mktemp -d)
    for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
    as=; [ "$(id -u)" = 0 ] && { chown postgres "$dir"; as="setpriv --reuid=postgres --regid=postgres --init-groups"; }
    cd "$dir"
    $as initdb --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 --no-sync
    $as postgres -D "$dir/data" -k "$dir" -h 127.0.0.1 -p "$port" -c max_connections=400 -c fsync=off &
    server=$!
    cat >/dev/null
    kill -INT $server; wait $server; rm -rf "$dir"
"#;

const REDIS: &str = r#"
    dir=$(mktemp -d); cd "$dir"
    redis-server --port "$1" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" &
    server=$!
    cat >/dev/null
    kill $server; wait $server; rm -rf "$dir"
"#;

/// Starts a primary and its standby. Arguments: listen address, port of the primary, port of the standby. Their sockets
/// are in their own folder.
pub const POSTGRES_PAIR: &str = r#"
    listen=$1; one=$2; two=$3; dir=$(mktemp -d)
    for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
    as=; [ "$(id -u)" = 0 ] && { chown postgres "$dir"; as="setpriv --reuid=postgres --regid=postgres --init-groups"; }
    cd "$dir"
    settings="-k $dir -h $listen -c max_connections=100 -c fsync=off"
    settings="$settings -c wal_level=replica -c max_wal_senders=5 -c hot_standby=on"
    $as initdb --pgdata="$dir/one" --username=postgres --auth=trust --encoding=UTF8 --no-sync
    echo "host all all all trust" | $as tee -a "$dir/one/pg_hba.conf"
    $as postgres -D "$dir/one" $settings -p "$one" &
    servers=$!
    until $as pg_isready -h 127.0.0.1 -p "$one"; do sleep 0.1; done
    $as pg_basebackup -h 127.0.0.1 -p "$one" -U postgres -D "$dir/two" -R -X stream -c fast --no-sync
    $as postgres -D "$dir/two" $settings -p "$two" &
    servers="$servers $!"
    cat >/dev/null
    kill -INT $servers; wait $servers; rm -rf "$dir"
"#;

/// Starts a master, its replica and sentinels. Arguments: listen address, ports of the master, the replica and each
/// sentinel. Sentinels write their state into their configuration files.
pub const REDIS_PAIR: &str = r#"
    listen=$1; one=$2; two=$3; shift 3; dir=$(mktemp -d); cd "$dir"
    common="--bind $listen --protected-mode no --appendonly no --dir $dir --repl-diskless-sync-delay 0"
    redis-server --port "$one" --save '' $common &
    servers=$!
    redis-server --port "$two" --save '' $common --replicaof 127.0.0.1 "$one" &
    servers="$servers $!"
    for port in "$@"; do
        printf '%s\n' "port $port" "bind $listen" "protected-mode no" "dir $dir" \
            "sentinel monitor main 127.0.0.1 $one 2" "sentinel down-after-milliseconds main 1000" \
            "sentinel failover-timeout main 5000" >"$port.conf"
        redis-server "$dir/$port.conf" --sentinel &
        servers="$servers $!"
    done
    cat >/dev/null
    kill $servers; wait $servers; rm -rf "$dir"
"#;

/// Starts one node per port and forms a cluster of them.
pub const CLUSTER: &str = r#"
    dir=$(mktemp -d); cd "$dir"; nodes=; servers=
    for port in "$@"; do
        redis-server --port "$port" --bind 0.0.0.0 --protected-mode no --save '' --appendonly no --dir "$dir" \
            --cluster-enabled yes --cluster-config-file "$port.conf" --cluster-announce-ip 127.0.0.1 &
        servers="$servers $!"; nodes="$nodes 127.0.0.1:$port"
    done
    for port in "$@"; do until redis-cli -p "$port" ping | grep -q PONG; do sleep 0.1; done; done
    redis-cli --cluster create $nodes --cluster-yes
    cat >/dev/null
    kill $servers; wait $servers; rm -rf "$dir"
"#;

/// Returns whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    let script = "for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done; command -v \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", program]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

pub fn postgres() -> Option<String> {
    is_installed("initdb").then(|| {
        let port = free_port();
        run_in_background(POSTGRES, &[&port.to_string()]);
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    })
}

pub fn redis() -> Option<String> {
    is_installed("redis-server").then(|| {
        let port = free_port();
        run_in_background(REDIS, &[&port.to_string()]);
        wait_for_redis(port);
        format!("redis://127.0.0.1:{port}")
    })
}

pub fn cluster() -> Option<String> {
    is_installed("redis-cli").then(|| {
        let ports = [(); 3].map(|()| free_port());
        let names = ports.map(|port| port.to_string());
        run_in_background(CLUSTER, &names.each_ref().map(|name| &**name));
        wait_for_cluster(ports);
        format!("redis-cluster://127.0.0.1:{}", ports[0])
    })
}
