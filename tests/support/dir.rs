//! Directories that go when the test goes.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid};

/// A temporary directory; servers may own it.
pub struct Dir(tempfile::TempDir);

impl Dir {
    /// A directory of the test's own user.
    pub fn new() -> Dir {
        Dir(tempfile::Builder::new().prefix("tailwater-test-").tempdir().expect("a temporary directory"))
    }

    /// A directory of the user that servers run as.
    pub fn for_server() -> Dir {
        let dir = Dir::new();
        give(dir.path());
        dir
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path inside it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Root may not run PostgreSQL: then servers run as `nobody`.
pub fn server_user() -> Option<(Uid, Gid)> {
    geteuid().is_root().then(|| {
        let nobody = User::from_name("nobody").ok().flatten().expect("a user called nobody");
        (nobody.uid, nobody.gid)
    })
}

/// Makes the server's user the owner of a file or directory.
pub fn give(path: &Path) {
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(path, Some(uid.as_raw()), Some(gid.as_raw())).expect("root may give files away");
    }
}
