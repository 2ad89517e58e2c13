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

fn there(program: &str) -> bool {
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
