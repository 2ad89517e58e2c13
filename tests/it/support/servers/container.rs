//! Servers in containers.

use std::process::{Command, Stdio};

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::{free_port, program, run_in_background, wait_for_cluster, wait_for_redis};

/// Returns whether a Docker engine runs.
pub fn is_available() -> bool {
    let mut docker = Command::new("docker");
    docker.args(["info"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn image(variable: &str, default: &str) -> GenericImage {
    let image = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    GenericImage::new(name, tag)
}

fn redis_image() -> GenericImage {
    image("TEST_REDIS_IMAGE", "redis:7-bookworm")
}

/// Starts a container. It is removed when this process ends.
fn start(request: ContainerRequest<GenericImage>) {
    // A separate thread, because the caller may already run in a runtime.
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let container = request.start().await.unwrap();
            let id = container.id().to_owned();
            // Dropping it would remove the container.
            std::mem::forget(container);
            id
        })
    });
    let id = thread.join().unwrap();
    run_in_background("cat >/dev/null; docker rm -f \"$1\"", &[&id]);
}

pub fn postgres() -> String {
    let port = free_port();
    let image = image("TEST_POSTGRES_IMAGE", "postgres:15-bookworm").with_exposed_port(5432.tcp());
    let request = image.with_mapped_port(port, 5432.tcp()).with_env_var("POSTGRES_PASSWORD", "secret");
    start(request.with_cmd(["postgres", "-c", "max_connections=400", "-c", "fsync=off"]));
    format!("postgres://postgres:secret@127.0.0.1:{port}/postgres")
}

pub fn redis() -> String {
    let port = free_port();
    start(redis_image().with_exposed_port(6379.tcp()).with_mapped_port(port, 6379.tcp()));
    wait_for_redis(port);
    format!("redis://127.0.0.1:{port}")
}

/// The image that has the programs of a script.
#[derive(Clone, Copy)]
pub enum Kind {
    Postgres,
    Redis,
}

/// Runs a script of [`program`] in one container, so that servers and tests reach each server by the same address.
pub fn run_script(kind: Kind, script: &str, arguments: &[String], ports: &[u16]) {
    let image = match kind {
        Kind::Postgres => image("TEST_POSTGRES_IMAGE", "postgres:15-bookworm"),
        Kind::Redis => redis_image(),
    };
    let mut image = image.with_entrypoint("sh");
    for port in ports {
        image = image.with_exposed_port(port.tcp());
    }
    // Standard input is closed in a container, so `cat` would end immediately.
    let script = script.replace("cat >/dev/null", "wait");
    let command = ["-c", &script, "sh"].into_iter().map(str::to_owned).chain(arguments.iter().cloned());
    let mut request = image.with_cmd(command);
    for port in ports {
        request = request.with_mapped_port(*port, port.tcp());
    }
    start(request);
}

/// Runs all nodes in one container, so that nodes and tests reach each node by the same address.
pub fn cluster() -> String {
    let ports = [(); 3].map(|()| free_port());
    let mut image = redis_image().with_entrypoint("sh");
    for port in ports {
        image = image.with_exposed_port(port.tcp());
    }
    let names = ports.map(|port| port.to_string());
    // Standard input is closed in a container, so `cat` would end immediately.
    let script = program::CLUSTER.replace("cat >/dev/null", "wait");
    let mut request = image.with_cmd(["-c", &script, "sh"].into_iter().map(str::to_owned).chain(names));
    for port in ports {
        request = request.with_mapped_port(port, port.tcp());
    }
    start(request);
    wait_for_cluster(ports);
    format!("redis-cluster://127.0.0.1:{}", ports[0])
}
