//! Physical standbys: copies of a server that follow it and can take its place.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::super::dir::{Dir, give};
use super::super::session::Session;
use super::{Postgres, append};

impl Postgres {
    /// A standby that streams from `address` (this server's, or a proxy's before it) through the physical slot
    /// `standby`. Where the version has failover slots it copies them.
    pub fn standby(&self, address: &str) -> Postgres {
        let dir = Dir::for_server();
        let data = dir.join("data");
        let session = Session::connect(&self.url()).expect("the primary takes connections");
        session.sql("select pg_create_physical_replication_slot('standby', true)");
        session.sql("select pg_backup_start('standby', true)");
        let copied = Command::new("cp").arg("-a").arg(self.data()).arg(&data).status().expect("cp starts");
        assert!(copied.success(), "the data directory is copied");
        let label = session.one("select labelfile from pg_backup_stop(false)");
        std::fs::write(data.join("backup_label"), label).expect("the directory is writable");
        std::fs::write(data.join("standby.signal"), "").expect("the directory is writable");
        give(&data.join("backup_label"));
        give(&data.join("standby.signal"));
        std::fs::remove_file(data.join("postmaster.pid")).expect("the primary runs");
        empty(&data.join("pg_replslot"));
        empty(&data.join("pg_wal"));
        let (host, port) = address.split_once(':').expect("host:port");
        let conninfo = format!("host={host} port={port} user=postgres password={} dbname=postgres", super::PASSWORD);
        let mut lines = format!(
            "primary_conninfo = '{conninfo}'\nprimary_slot_name = 'standby'\nhot_standby_feedback = on\n\
             wal_receiver_status_interval = 1s\nwal_retrieve_retry_interval = 200ms\n"
        );
        if self.version >= 17 {
            lines.push_str("sync_replication_slots = on\n");
        }
        append(&data.join("postgresql.conf"), &lines);
        let (version, bin) = (self.version, self.bin.clone());
        let standby = Postgres { version, bin, dir, port: AtomicU32::new(0), process: Mutex::new(None) };
        standby.first_start();
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        if self.version >= 17 {
            // Whoever waited for this standby waits no more.
            self.configure("synchronized_standby_slots = ''");
            self.sql("select pg_reload_conf()");
        }
        assert_eq!(self.sql("select pg_promote(true, 60)")[0][0].as_deref(), Some("t"), "{}", self.log());
    }
}

/// Removes what a directory holds, but for directories.
fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        let kept = path.ends_with("archive_status") || path.ends_with("summaries");
        match path.is_dir() {
            true if kept => {}
            true => std::fs::remove_dir_all(&path).expect("the directory is ours"),
            false => std::fs::remove_file(&path).expect("the file is ours"),
        }
    }
}
