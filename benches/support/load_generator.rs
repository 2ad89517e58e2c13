//! The load generator of a bench, in a separate process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A load generator process. It reads requests from standard input and writes replies to standard output, one per line.
pub struct LoadGenerator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl LoadGenerator {
    /// Starts this program again with the argument `load` and these arguments.
    pub fn spawn(arguments: &[String]) -> Self {
        let own = std::env::current_exe().expect("a program has a path");
        let mut child = Command::new(own)
            .arg("load")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the load generator starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    pub fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the load generator runs");
    }

    /// Waits for a reply without blocking the server.
    pub async fn receive(mut self) -> (Self, String) {
        tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("the load generator runs");
            (self, line.trim().to_owned())
        })
        .await
        .expect("the load generator runs")
    }

    /// The arguments of this process if it is a load generator.
    pub fn arguments() -> Option<Vec<String>> {
        let mut arguments = std::env::args().skip(1);
        (arguments.next().as_deref() == Some("load")).then(|| arguments.collect())
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
