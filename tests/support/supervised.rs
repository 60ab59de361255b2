//! A process that does not outlive the test, however the test ends.
//!
//! ```text
//! test binary --pipe--> sh (supervisor) --starts--> server
//! ```
//!
//! Why this is safe: the kernel closes the pipe when the test binary ends, by return, panic or `kill -9` alike, and no
//! other process holds its writing end (Rust opens pipes close-on-exec). The supervisor then signals the server, waits
//! for it and removes its directory. Servers in statics, which Rust never drops, end the same way. Both run in a
//! process group of their own, so that Ctrl-C reaches them only through the pipe.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::dir;

/// Arguments: signal, directory to remove or nothing, file for output, file for errors, command.
const SUPERVISOR: &str = r#"
signal=$1 remove=$2 out=$3 err=$4
shift 4
exec 3<&0 </dev/null
"$@" 3<&- >>"$out" 2>>"$err" &
server=$!
echo "$server"
exec >/dev/null 2>&1
abandoned=
trap 'abandoned=1; kill -s "$signal" "$server"' USR1
(read -r line <&3; kill -s USR1 $$) &
watcher=$!
exec 3<&-
while :; do
    wait "$server"
    code=$?
    kill -s 0 "$server" || break
done
kill "$watcher"
if [ -n "$abandoned" ] && [ -n "$remove" ]; then rm -rf "$remove"; fi
exit "$code"
"#;

/// What to start and how it ends.
pub struct Launch {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Where its standard output goes, appended.
    pub out: PathBuf,
    /// Where its standard error goes, appended.
    pub err: PathBuf,
    /// The signal that ends it when the test is gone.
    pub last: Signal,
    /// The directory to remove when the test is gone.
    pub remove: Option<PathBuf>,
    /// Run as the user that servers run as.
    pub as_server: bool,
}

/// A running process; dropped, it is ended with its last signal.
pub struct Supervised {
    shell: Child,
    pipe: Option<ChildStdin>,
    pid: Pid,
    code: Option<i32>,
}

impl Supervised {
    /// Starts the process.
    pub fn start(launch: &Launch) -> Supervised {
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISOR, "supervisor", launch.last.as_str().trim_start_matches("SIG")]);
        shell.arg(launch.remove.as_deref().unwrap_or(Path::new("")));
        shell.arg(&launch.out).arg(&launch.err).args(&launch.command);
        shell.envs(launch.env.iter().cloned()).current_dir("/").process_group(0);
        if let Some((uid, gid)) = dir::server_user().filter(|_| launch.as_server) {
            shell.uid(uid.as_raw()).gid(gid.as_raw());
        }
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh starts");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut line).expect("the supervisor speaks");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("the supervisor said {line:?}, not a process id"));
        Supervised { pipe: shell.stdin.take(), shell, pid: Pid::from_raw(pid), code: None }
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// The exit code when it has ended; 128 + n after signal n.
    pub fn exited(&mut self) -> Option<i32> {
        if self.code.is_none() {
            let status = self.shell.try_wait().expect("the supervisor is our child");
            self.code = status.map(|status| status.code().unwrap_or(-1));
        }
        self.code
    }

    /// Waits for the end; `None` when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let begin = Instant::now();
        while self.exited().is_none() && begin.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.code
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if self.wait(Duration::from_secs(10)).is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.shell.wait();
        }
    }
}
