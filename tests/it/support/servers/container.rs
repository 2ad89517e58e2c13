//! Servers in containers.

use std::process::{Command, Stdio};

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::{free_port, program, until_the_end, wait_for_cluster, wait_for_redis};

pub fn engine_answers() -> bool {
    let mut asked = Command::new("docker");
    asked.args(["info"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn image(variable: &str, usual: &str) -> GenericImage {
    let chosen = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let (name, tag) = chosen.rsplit_once(':').unwrap_or((&chosen, "latest"));
    GenericImage::new(name, tag)
}

fn redis_image() -> GenericImage {
    image("TEST_REDIS_IMAGE", "redis:7-bookworm")
}

/// Starts it, and lets it go when this process ends.
fn start(request: ContainerRequest<GenericImage>) {
    // On a thread of its own: whoever asks may be inside of a runtime.
    let started = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let container = request.start().await.unwrap();
            let id = container.id().to_owned();
            // Its own end would come with the runtime of whoever asked first.
            std::mem::forget(container);
            id
        })
    });
    let id = started.join().unwrap();
    until_the_end("cat >/dev/null; docker rm -f \"$1\"", &[&id]);
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

/// Which image has the programs of a script.
#[derive(Clone, Copy)]
pub enum Kind {
    Postgres,
    Redis,
}

/// Runs a script of [`program`] in one container, so that its servers reach each other, and we them, by the same addresses.
pub fn run_script(kind: Kind, script: &str, arguments: &[String], ports: &[u16]) {
    let image = match kind {
        Kind::Postgres => image("TEST_POSTGRES_IMAGE", "postgres:15-bookworm"),
        Kind::Redis => redis_image(),
    };
    let mut image = image.with_entrypoint("sh");
    for port in ports {
        image = image.with_exposed_port(port.tcp());
    }
    // There is nobody to hold its input open.
    let script = script.replace("cat >/dev/null", "wait");
    let words = ["-c", &script, "sh"].into_iter().map(str::to_owned).chain(arguments.iter().cloned());
    let mut request = image.with_cmd(words);
    for port in ports {
        request = request.with_mapped_port(*port, port.tcp());
    }
    start(request);
}

/// All nodes in one container, so that each reaches the others, and we them, by the same addresses.
pub fn cluster() -> String {
    let ports = [(); 3].map(|()| free_port());
    let mut image = redis_image().with_entrypoint("sh");
    for port in ports {
        image = image.with_exposed_port(port.tcp());
    }
    let names = ports.map(|port| port.to_string());
    // There is nobody to hold its input open.
    let script = program::CLUSTER.replace("cat >/dev/null", "wait");
    let mut request = image.with_cmd(["-c", &script, "sh"].into_iter().map(str::to_owned).chain(names));
    for port in ports {
        request = request.with_mapped_port(port, port.tcp());
    }
    start(request);
    wait_for_cluster(ports);
    format!("redis-cluster://127.0.0.1:{}", ports[0])
}
