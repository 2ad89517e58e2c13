//! The load of a bench in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The load, in a process of its own: it is asked in lines, and answers each with one.
pub struct Load {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Load {
    /// Starts this program once more, as `load` with these arguments.
    pub fn spawn(arguments: &[String]) -> Self {
        let own = std::env::current_exe().expect("a program has a path");
        let mut child = Command::new(own)
            .arg("load")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the load starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    pub fn ask(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the load lives");
    }

    /// Waits for an answer without holding up the server.
    pub async fn answer(mut self) -> (Self, String) {
        tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("the load lives");
            (self, line.trim().to_owned())
        })
        .await
        .expect("the load lives")
    }

    /// What the load was started with, if this process is one.
    pub fn arguments() -> Option<Vec<String>> {
        let mut arguments = std::env::args().skip(1);
        (arguments.next().as_deref() == Some("load")).then(|| arguments.collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
