//! Everything around a contestant, and a contestant in it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::amplitude::{self, Amplitude};
use crate::aws::{self, Aws, REGION};
use crate::contestant::{Contestant, Kind, first_line, python_environment};
use crate::delivery::{Deliveries, Size};
use crate::process::{Process, cpu_of_machine, cpu_of_thread};
use crate::program::scratch;
use crate::runtime_api::{Invocations, RuntimeApi};
use crate::server;
use crate::share::Share;

/// The name of the thread of all runtime APIs, which also creates and signs the invocations.
const THREAD: &str = "runtime-api";

/// The delay of the slow Amplitude.
pub const DELAY: Duration = Duration::from_millis(100);

pub struct Stage {
    /// Responds at once.
    pub prompt: Amplitude,
    /// Responds after [`DELAY`].
    pub late: Amplitude,
    pub aws: Aws,
    /// The missing contestants, and why.
    pub missing: Vec<String>,
    node: Option<Contestant>,
    python: Option<Contestant>,
    runtime_api: Handle,
    /// The file of the trusted certificate.
    authority: PathBuf,
    /// The same after the certificates that Python trusts by default, because the file replaces them, and reading them
    /// takes time.
    bundle: PathBuf,
}

/// A running contestant.
pub struct Running {
    pub process: Process,
    pub api: RuntimeApi,
}

/// The share of a core that each thread uses, and the contestant.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    pub contestant: f64,
    pub runtime_api: f64,
    pub amplitude: f64,
    pub aws: f64,
    /// All other processes on the machine, including moto.
    pub others: f64,
    /// The idle share.
    pub idle: f64,
}

impl Stage {
    pub fn build() -> Self {
        let (authority, tls) = amplitude_emulator::tls::self_signed(&[]).unwrap();
        let file = scratch().join("side-by-side-authority.pem");
        std::fs::write(&file, &authority).unwrap();
        let bundle = scratch().join("side-by-side-bundle.pem");
        std::fs::write(&bundle, certificates_of_python() + &authority).unwrap();
        let amplitude = server::thread(amplitude::THREAD);
        let (node, python) = (Contestant::node(), Contestant::python());
        Self {
            prompt: Amplitude::start(&amplitude, Arc::clone(&tls), Duration::ZERO),
            late: Amplitude::start(&amplitude, Arc::clone(&tls), DELAY),
            aws: Aws::start(server::thread(aws::THREAD), tls),
            missing: [&node, &python].into_iter().filter_map(|peer| peer.as_ref().err().cloned()).collect(),
            node: node.ok(),
            python: python.ok(),
            runtime_api: server::thread(THREAD),
            authority: file,
            bundle,
        }
    }

    /// The available peers.
    pub fn peers(&self) -> Vec<Contestant> {
        [&self.node, &self.python].into_iter().flatten().cloned().collect()
    }

    /// Hello, the function, and the available peers.
    pub fn all(&self) -> Vec<Contestant> {
        [vec![Contestant::hello(), Contestant::function()], self.peers()].concat()
    }

    /// Starts a contestant for deliveries of this size.
    pub fn start(&self, contestant: &Contestant, amplitude: &Amplitude, size: Size, share: Option<&Share>) -> Running {
        self.start_with(contestant, amplitude, Arc::new(Deliveries::new(size)), share)
    }

    pub fn start_with(
        &self,
        contestant: &Contestant,
        amplitude: &Amplitude,
        invocations: Arc<dyn Invocations>,
        share: Option<&Share>,
    ) -> Running {
        let api = RuntimeApi::start(&self.runtime_api, invocations);
        let url = if contestant.kind == Kind::Redelivery { amplitude.batch_url() } else { amplitude.url() };
        // Lambda's variables, as documented, and the wiring.
        let variables = [
            ("_HANDLER", "handler.handler"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2024/07/26/[$LATEST]0123456789abcdef"),
            ("AWS_LAMBDA_RUNTIME_API", &api.address.to_string()),
            ("AWS_REGION", REGION),
            ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-the-bench"),
            ("AWS_SESSION_TOKEN", "aws-token-of-the-bench"),
            ("HOME", "/tmp"),
            ("LANG", "en_US.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("TZ", ":UTC"),
            ("AMPLITUDE_URL", &url),
            ("AWS_ENDPOINT_URL_SQS", &self.aws.url),
            ("AWS_ENDPOINT_URL_SSM", &self.aws.url),
            // The variables that make them trust it: for ours and the peer in JavaScript; for requests and botocore.
            ("EXTRA_CA_FILE", self.authority.to_str().unwrap()),
            ("REQUESTS_CA_BUNDLE", self.bundle.to_str().unwrap()),
        ];
        let of_the_contestant = contestant.variables.iter().map(|(name, value)| (*name, &**value));
        let variables = variables.into_iter().chain(of_the_contestant);
        let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let log = scratch().join(format!("side-by-side-{}.log", contestant.name));
        Running { process: Process::start(&contestant.command, &variables, share, &log), api }
    }

    /// Hands out as many invocations as are taken within this time, after a warm-up. Returns the responses per second,
    /// and the load.
    pub fn press(&self, running: &Running, warm_up: Duration, time: Duration) -> (f64, Busy) {
        running.api.supply(usize::MAX / 2);
        std::thread::sleep(warm_up);
        let used = || {
            let ours = [THREAD, amplitude::THREAD, aws::THREAD].map(cpu_of_thread);
            (Instant::now(), [ours[0], ours[1], ours[2], running.process.cpu()], cpu_of_machine())
        };
        let (from, before, machine_before) = used();
        std::thread::sleep(time);
        let (to, after, machine) = used();
        let answered = running.api.drain();
        let count = answered.iter().filter(|answered| (from..to).contains(&answered.answered)).count();
        let seconds = (to - from).as_secs_f64();
        let share = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() / seconds;
        let [runtime_api, amplitude, aws, contestant] = [0, 1, 2, 3].map(|of| share(after[of], before[of]));
        let [busy, idle] = [0, 1].map(|of| share(machine[of], machine_before[of]));
        let others = (busy - runtime_api - amplitude - aws - contestant).max(0.0);
        (count as f64 / seconds, Busy { contestant, runtime_api, amplitude, aws, others, idle })
    }
}

/// All certificates that Python's requests trusts, as PEM.
fn certificates_of_python() -> String {
    let ask = ["-c", "import certifi; print(certifi.where())"];
    let path = first_line(Command::new(python_environment().join("bin/python")).args(ask));
    path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}
