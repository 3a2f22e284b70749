//! Programs from `.venv` that the tests share: each runs once, until the test process ends.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of a program in `.venv`.
pub fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin").join(name);
    assert!(path.exists(), ".venv/bin/{name} is missing: run `make test`, which installs what the tests need");
    path
}

/// A directory for files of the tests.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A server that listens. Whoever holds it keeps it alive.
pub struct Server {
    pub address: SocketAddr,
    /// A shell that kills the server when its standard input ends: so the server goes with this process, however this
    /// process ends. Statics are never dropped, so there is no other moment to do it.
    _shell: Child,
}

impl Server {
    /// Starts `.venv/bin/{name}` in a directory; `arguments` gets the port. Returns when it listens.
    pub fn start(name: &str, directory: &Path, arguments: impl Fn(String) -> Vec<String>) -> Self {
        let shell = || {
            let mut shell = Command::new("sh");
            shell.current_dir(directory);
            shell
        };
        Self::start_in(shell, name, &installed(name), arguments)
    }

    /// Starts a program by a shell whose directory and environment are prepared. `name` is for its log.
    pub fn start_in(
        shell: impl Fn() -> Command,
        name: &str,
        program: &Path,
        arguments: impl Fn(String) -> Vec<String>,
    ) -> Self {
        let log = log_of(name);
        let deadline = Instant::now() + Duration::from_secs(60);
        // The server ends where another process has taken its port since.
        while Instant::now() < deadline {
            let address = free_address();
            let file = File::create(&log).unwrap();
            let mut shell = spawn(shell(), program, arguments(address.port().to_string()), file);
            while Instant::now() < deadline && shell.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { address, _shell: shell };
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            drop(shell.stdin.take());
        }
        panic!("{name} does not listen; its output is in {}", log.display());
    }
}

fn spawn(mut shell: Command, program: &Path, arguments: Vec<String>, log: File) -> Child {
    // What runs in the background has no standard input, hence 3.
    let script = r#"exec 3<&0; "$@" & server=$!; { read _ <&3; kill $server; } & wait $server"#;
    shell
        .args(["-c", script, "sh"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The file of what a server writes.
pub fn log_of(name: &str) -> PathBuf {
    scratch().join(format!("{name}.log"))
}

/// An address on which nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
