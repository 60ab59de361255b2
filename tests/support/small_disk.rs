//! A disk that some processes have to themselves and that is full on demand; nobody has to be root for it.
//!
//! ```text
//!  holder ── a user and mount namespace of its own, with a tmpfs ──▶ /tmp/tailwater-test-x/
//!  process ── `nsenter` into it ─────────────────────────────────────┘
//!  test ── copies out of it by way of the holder's root directory
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;

use super::dir::Dir;
use super::eventually;
use super::supervised::{Launch, Supervised};

/// What it takes while it is not full.
const ROOM: u64 = 4 << 30;

/// The disk; gone when dropped, with what is on it.
pub struct SmallDisk {
    // Before the directory, which it mounts over.
    holder: Supervised,
    dir: Dir,
}

impl SmallDisk {
    /// Makes it, with room.
    pub fn new() -> SmallDisk {
        let dir = Dir::new();
        let place = dir.path().to_string_lossy().into_owned();
        let script = format!("mount -t tmpfs -o size={ROOM} none \"$1\" && exec sleep 1000000");
        let command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh", &place];
        let holder = Supervised::start(&Launch {
            command: command.iter().map(Into::into).collect(),
            env: Vec::new(),
            out: "/dev/null".into(),
            err: "/dev/null".into(),
            last: Signal::SIGKILL,
            remove: None,
            as_server: false,
        });
        let mounts = format!("/proc/{}/mounts", holder.pid());
        eventually("the disk is there", Duration::from_secs(30), || {
            std::fs::read_to_string(&mounts).ok().filter(|mounts| mounts.contains(&place))
        });
        SmallDisk { holder, dir }
    }

    /// A file on it, as a process sees it that runs under [`SmallDisk::entering`].
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where everybody else sees what is on it; who resolves links in the path, sees nothing.
    fn outside(&self) -> PathBuf {
        let inside = self.dir.path().strip_prefix("/").expect("temporary directories are absolute");
        Path::new("/proc").join(self.holder.pid().to_string()).join("root").join(inside)
    }

    /// Copies its files.
    pub fn copy_out(&self, to: &Dir) {
        for entry in std::fs::read_dir(self.outside()).expect("the disk is there") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("there is room");
        }
    }

    /// The command that a process has to run under to see it.
    pub fn entering(&self) -> Vec<String> {
        let holder = self.holder.pid().to_string();
        ["nsenter", "-t", &holder, "-U", "-m", "--preserve-credentials"].map(str::to_owned).to_vec()
    }

    /// From now on no byte more fits.
    pub fn fill(&self) {
        eventually("the disk is full", Duration::from_secs(10), || {
            let disk = statvfs(&self.outside()).expect("the disk is there");
            // What is written meanwhile may make it refuse: then again.
            self.resize((disk.blocks() - disk.blocks_free()) * disk.fragment_size()).then_some(())
        });
    }

    /// There is room again.
    pub fn make_room(&self) {
        assert!(self.resize(ROOM), "the disk does not grow");
    }

    fn resize(&self, bytes: u64) -> bool {
        let entering = self.entering();
        let mut command = Command::new(&entering[0]);
        command.args(&entering[1..]).args(["mount", "-o", &format!("remount,size={}", bytes.max(4096))]);
        command.arg(self.dir.path()).stderr(std::process::Stdio::null());
        command.status().expect("nsenter starts").success()
    }
}
