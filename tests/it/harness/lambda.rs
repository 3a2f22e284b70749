//! Lambda: cargo-lambda's emulator of the runtime and invoke APIs, and processes of the function that use it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::gateway::{Answer, Gateway, Request};
use super::program::{Server, scratch};
use super::{eventually, http_client, secrets};

/// The Region of all resources.
pub const REGION: &str = "eu-central-1";

/// The maximum number of functions.
const FUNCTIONS: usize = 300;

/// The allocator settings from template.yaml.
const GLIBC_TUNABLES: &str = "glibc.malloc.mmap_threshold=131072:glibc.malloc.tcache_count=0";

/// The webhook function.
const WEBHOOK: &str = env!("CARGO_BIN_EXE_stripe-amplitude");

/// The redelivery function.
const REDELIVERY: &str = env!("CARGO_BIN_EXE_redelivery");

/// The emulator, started once.
async fn emulator() -> &'static Server {
    static EMULATOR: OnceCell<Server> = OnceCell::const_new();
    EMULATOR
        .get_or_init(async || {
            // The emulator only accepts functions that are binaries of the Cargo project in its directory, so it gets a
            // project that consists of names alone. `--only-lambda-apis` prevents it from building or starting them.
            let directory = scratch().join("functions");
            std::fs::create_dir_all(&directory).unwrap();
            let mut manifest =
                "[workspace]\n[package]\nname = \"functions\"\nversion = \"0.0.0\"\nedition = \"2024\"\n".to_owned();
            for number in 0..FUNCTIONS {
                write!(manifest, "[[bin]]\nname = \"function-{number}\"\npath = \"main.rs\"\n").unwrap();
            }
            std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
            std::fs::write(directory.join("main.rs"), "fn main() {}\n").unwrap();
            Server::start("cargo-lambda", &directory, |port| {
                ["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1", "--invoke-port", &port]
                    .map(str::to_owned)
                    .to_vec()
            })
        })
        .await
}

/// A function with one process, which ends when this is dropped.
pub struct Function {
    binary: &'static str,
    variables: Vec<(String, String)>,
    process: Mutex<Process>,
    name: String,
    emulator: String,
    http: reqwest::Client,
}

impl Function {
    /// Starts the webhook function in an environment with Lambda's variables and these; later ones win.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_binary(WEBHOOK, variables).await
    }

    /// Starts the redelivery function in the same way.
    pub async fn start_redelivery(variables: &[(&str, &str)]) -> Self {
        Self::start_binary(REDELIVERY, variables).await
    }

    async fn start_binary(binary: &'static str, variables: &[(&str, &str)]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        assert!(number < FUNCTIONS, "more functions than the emulator knows");
        let name = format!("function-{number}");
        let emulator = format!("http://{}", emulator().await.address);
        let runtime_api = format!("{emulator}/.rt/{name}");
        let lambdas = [
            ("AWS_LAMBDA_RUNTIME_API", &*runtime_api),
            ("AWS_LAMBDA_FUNCTION_NAME", &name),
            ("GLIBC_TUNABLES", GLIBC_TUNABLES),
        ];
        let variables = [&lambdas, variables].concat();
        let process = Mutex::new(Process::start(binary, &variables, Arc::default()));
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { binary, variables, process, name, emulator, http: http_client() }
    }

    /// Kills the process, whatever it is doing, and starts another one. Its output is kept.
    pub fn kill_and_restart(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill();
        let variables: Vec<_> = self.variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        *process = Process::start(self.binary, &variables, Arc::clone(&process.output));
    }

    /// The process's peak memory in KiB, if the operating system reports it.
    pub fn peak_memory(&self) -> Option<u64> {
        let id = self.process.lock().unwrap().child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
    }

    /// Invokes the function with a payload and returns its response.
    ///
    /// # Errors
    /// If the function fails or does not answer.
    pub async fn invoke(&self, payload: &Value) -> Result<Value, String> {
        let url = format!("{}/2015-03-31/functions/{}/invocations", self.emulator, self.name);
        let response = self.http.post(url).body(payload.to_string()).send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(text);
        }
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Sends a request through a gateway.
    pub async fn send(&self, gateway: Gateway, request: &Request) -> Answer {
        let answer = gateway.send(&self.http, &self.emulator, &self.name, request).await;
        secrets::expect_none_in("an answer", &format!("{:?} {}", answer.headers, answer.body));
        answer
    }

    /// The ID of its process.
    pub fn process_id(&self) -> u32 {
        self.process.lock().unwrap().child.id()
    }

    /// Everything that it has written.
    pub fn output(&self) -> String {
        self.process.lock().unwrap().output()
    }

    /// Waits for a line that contains this text, and returns the line.
    pub async fn line_with(&self, text: &str) -> String {
        eventually(&format!("a line with {text:?} in:\n{}", self.output()), async || {
            self.output().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// Waits for at least `count` request log lines, which are those with an `outcome`, and returns them.
    pub async fn request_lines(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} lines of requests"), async || {
            let lines = self.output();
            let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<_> = lines.filter(|line| line.get("outcome").is_some()).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// Waits for `deliveries` request log lines about this event, and returns the last of them.
    pub async fn line_of(&self, event: &Value, deliveries: usize) -> Value {
        eventually(&format!("the line of {}", event["id"]), async || {
            let lines = self.request_lines(0).await;
            lines.into_iter().filter(|line| line["event"] == event["id"]).nth(deliveries - 1)
        })
        .await
    }
}

/// Runs the function's binary until it exits, to test failing starts.
pub async fn run_to_exit(variables: &[(&str, &str)]) -> (ExitStatus, String) {
    let mut process = Process::start(WEBHOOK, variables, Arc::default());
    let status = eventually("the end of the function", async || process.child.try_wait().unwrap()).await;
    // The readers may not have received its last output yet.
    for reader in process.readers.drain(..) {
        reader.join().unwrap();
    }
    (status, process.output())
}

struct Process {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Appends the process's output to `output`.
    fn start(binary: &str, variables: &[(&str, &str)], output: Arc<Mutex<Vec<u8>>>) -> Self {
        let mut child = Command::new(binary)
            // Ignore the developer's environment, such as proxies and credentials.
            .env_clear()
            .envs([
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-the-function"),
                ("AWS_SESSION_TOKEN", "aws-token-of-the-function"),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&output)),
            collect(child.stderr.take().unwrap(), Arc::clone(&output)),
        ];
        Self { child, output, readers }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Sends SIGKILL.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("The function wrote:\n{}", self.output());
        } else {
            secrets::expect_none_in("what a process wrote", &self.output());
        }
    }
}

/// Reads line by line, so that concurrent readers of the output never see an incomplete line.
fn collect(from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut from, mut line) = (BufReader::new(from), Vec::new());
        while let Ok(1..) = from.read_until(b'\n', &mut line) {
            to.lock().unwrap().append(&mut line);
        }
    })
}
