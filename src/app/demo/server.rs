//! A PostgreSQL server that lives as long as the demo.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::model::{Error, Result};

/// A folder that is removed in the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("tailwater-demo-{:08x}", rand::random::<u32>()));
        let made = fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        made.map_err(|error| Error::blocked(format!("{} can't be made", path.display())).because(error))?;
        Ok(Folder(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

/// A running server; ends when dropped.
pub(super) struct Server {
    process: Child,
    port: u16,
    password: String,
}

impl Server {
    pub(super) fn start(folder: &Folder) -> Result<Server> {
        let bin = binaries()?;
        let user = unprivileged()?;
        let data = folder.path().join("postgres");
        let password = format!("{:016x}", rand::random::<u64>());
        let secret = folder.path().join("password");
        let io = |error| Error::blocked("the server's folder can't be prepared").because(error);
        fs::create_dir(&data).map_err(io)?;
        fs::write(&secret, &password).map_err(io)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).map_err(io)?;
        if let Some((uid, gid)) = user {
            chown(&data, Some(uid), Some(gid)).and_then(|()| chown(&secret, Some(uid), Some(gid))).map_err(io)?;
        }
        let mut initdb = command(&bin.join("initdb"), user);
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        let output = initdb.arg(&data).arg("--pwfile").arg(&secret).output().map_err(io)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::blocked(format!("initdb failed: {}", text.trim())));
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(io)?.port();
        let log = fs::File::create(folder.path().join("postgres.log")).map_err(io)?;
        let mut postgres = command(&bin.join("postgres"), user);
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "fsync=off"] {
            postgres.args(["-c", setting]);
        }
        let process = postgres.stdout(Stdio::null()).stderr(log).spawn().map_err(io)?;
        Ok(Server { process, port, password })
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres?sslmode=disable", self.password, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown; a plain kill of the parent would leave its children for a moment.
        let asked = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Where initdb and postgres are: named by the environment, on the path, or where Debian puts them.
fn binaries() -> Result<PathBuf> {
    let named = std::env::var_os("TAILWATER_POSTGRES_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = (14..=18).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    named
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(debian)
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .ok_or_else(|| {
            Error::blocked("no PostgreSQL server was found on this machine")
                .remedy("`make demo` fetches one; or name its bin directory in TAILWATER_POSTGRES_BIN, or a database in DATABASE_URL")
        })
}

/// PostgreSQL refuses to run as root: the user and group to run as, if we are.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let nobody = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        (name == "nobody").then(|| Some((uid.parse().ok()?, gid.parse().ok()?))).flatten()
    });
    nobody.map(Some).ok_or_else(|| {
        Error::blocked("PostgreSQL does not run as root and there is no user `nobody`")
            .remedy("run the demo as another user")
    })
}
