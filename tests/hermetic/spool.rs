//! The spool: what goes in comes out, cuts are exact, bounds hold, and nobody else can read it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tailwater::adapters::postgres::{Replay, Spool, SpoolOptions};
use tailwater::model::{Class, Lsn, Meters, Xid};

fn options(dir: &Path, limit: u64) -> SpoolOptions {
    SpoolOptions { dir: dir.join("spool"), limit, ..SpoolOptions::default() }
}

/// Bytes that can't be made much smaller, another series for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

fn read(mut replay: Replay) -> Vec<(Lsn, Vec<u8>)> {
    std::iter::from_fn(|| replay.record().unwrap()).map(|record| (record.lsn, record.body.to_vec())).collect()
}

/// Everything that the process has open in a directory: its size, its mode, and whether it has a name.
fn files(dir: &Path) -> Vec<(u64, u32, bool)> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let found = open.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let ours = target.starts_with(dir) && target.to_string_lossy().contains(".spool");
        let about = std::fs::metadata(entry.path()).ok().filter(|_| ours)?;
        Some((about.len(), about.permissions().mode() & 0o777, !target.to_string_lossy().ends_with("(deleted)")))
    });
    found.collect()
}

#[test]
fn what_goes_in_comes_out_in_order_from_memory_and_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let meters = Meters::new();
    let mut spool = Spool::new(options(dir.path(), 1 << 30), Arc::clone(&meters)).unwrap();
    let (small, large) = (Xid(1), Xid(2));
    let record = |n: u64| (Lsn::new(n), noise(n, (n as usize * 7919) % 30_000));
    for n in 0..1000 {
        let (lsn, body) = record(n);
        spool.append(large, lsn, &body).unwrap();
        if n < 10 {
            spool.append(small, lsn, &body).unwrap();
        }
    }
    let kept = files(dir.path());
    assert_eq!(kept.len(), 1, "only the large one has a file: {kept:?}");
    assert!(kept[0].0 > 10 << 20 && kept[0].1 == 0o600 && !kept[0].2, "{kept:?}");
    assert_eq!(meters.spool_bytes.get(), Some(kept[0].0 as i64));
    assert_eq!(std::fs::metadata(dir.path().join("spool")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(read(spool.replay(large)), (0..1000).map(record).collect::<Vec<_>>());
    assert_eq!(read(spool.replay(small)), (0..10).map(record).collect::<Vec<_>>());
    assert_eq!((read(spool.replay(small)), spool.end(large)), (vec![], 0));
    assert_eq!((files(dir.path()), meters.spool_bytes.get()), (vec![], Some(0)));
}

#[test]
fn a_cut_takes_away_what_came_from_there_on_and_gives_back_its_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(options(dir.path(), 1 << 30), Meters::new()).unwrap();
    let (xid, size) = (Xid(1), 100_000);
    let mut expected: Vec<(Lsn, Vec<u8>)> = Vec::new();
    let mut offsets = Vec::new();
    for n in 0..400u64 {
        // Back by so many records: within memory, by a chunk, by many chunks, to the beginning.
        let back = match n {
            90 => 90,
            120 => 3,
            200 | 201 => 45,
            300 => 100,
            _ => 0,
        };
        for _ in 0..back {
            expected.pop();
        }
        if back > 0 {
            spool.cut(xid, offsets[expected.len()]).unwrap();
            offsets.truncate(expected.len());
            assert_eq!(spool.end(xid), expected.len() as u64 * (size as u64 + 12), "at {n}");
        }
        offsets.push(spool.end(xid));
        let body = noise(n, size);
        spool.append(xid, Lsn::new(n), &body).unwrap();
        expected.push((Lsn::new(n), body));
    }
    let held = files(dir.path())[0].0;
    assert!(held <= (expected.len() * (size + 12)) as u64 + 100_000, "{held} bytes for {} records", expected.len());
    assert_eq!(read(spool.replay(xid)), expected);
}

#[test]
fn sixty_four_transactions_at_once_stay_within_the_bound_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(options(dir.path(), 1 << 30), Meters::new()).unwrap();
    let mut bytes = 0u64;
    for n in 0..1000u64 {
        for xid in 0..64 {
            spool.append(Xid(xid), Lsn::new(n), &noise(n, 1000)).unwrap();
            bytes += 1012;
        }
        let on_disk: u64 = files(dir.path()).iter().map(|file| file.0).sum();
        assert!(bytes - on_disk.min(bytes) <= (32 << 20) + 100_000, "{bytes} bytes came, {on_disk} are in files");
    }
    for xid in 0..64 {
        assert_eq!(read(spool.replay(Xid(xid))).len(), 1000);
    }
}

#[test]
fn what_is_compressed_takes_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(options(dir.path(), 4 << 20), Meters::new()).unwrap();
    for n in 0..200_000u64 {
        spool.append(Xid(1), Lsn::new(n), format!("customer number {n} of the shop, paid in full").as_bytes()).unwrap();
    }
    assert_eq!(read(spool.replay(Xid(1))).len(), 200_000);
}

#[test]
fn a_spool_that_is_full_or_can_t_be_used_says_so_and_is_given_up_for_the_next_connection() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 5 << 20);
    let mut spool = Spool::new(options.clone(), Meters::new()).unwrap();
    let full = (0..200).find_map(|n| spool.append(Xid(1), Lsn::new(n), &noise(n, 100_000)).err()).unwrap();
    assert_eq!(full.class(), Class::Transient);
    assert!(full.to_string().contains("5242880") && full.to_string().contains("spool_bytes"), "{full}");
    assert!(options.given_up.load(Ordering::Relaxed));
    drop(spool);
    assert_eq!(files(dir.path()), []);
    std::fs::write(dir.path().join("file"), "no directory").unwrap();
    let nowhere = SpoolOptions { dir: dir.path().join("file/spool"), ..options };
    let refused = Spool::new(nowhere, Meters::new()).unwrap_err();
    assert!(refused.class() == Class::Transient && refused.to_string().contains("state_dir"), "{refused}");
}

#[test]
fn what_an_earlier_process_left_is_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1 << 20);
    std::fs::create_dir(&options.dir).unwrap();
    std::fs::write(options.dir.join("0123.spool"), "left").unwrap();
    std::fs::write(options.dir.join("other"), "not ours").unwrap();
    Spool::new(options.clone(), Meters::new()).unwrap();
    let left: Vec<_> = std::fs::read_dir(&options.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["other"]);
}
