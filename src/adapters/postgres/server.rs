//! What kind of server it is: whether it can be followed, what may go wrong with it, what holds a new slot up.

use tokio_postgres::Client;

use super::catalog::Facts;
use super::refusal::sql_error;
use crate::model::{Error, Result};

/// What keeps the server from being followed.
pub(super) fn unfit(facts: &Facts) -> Vec<Error> {
    let mut problems = Vec::new();
    if let Some(kind) = look_alike(&facts.banner) {
        problems.push(
            Error::blocked(format!("the server is {kind}, which only speaks like PostgreSQL: a keepalive of its may count what it has not sent"))
                .remedy("follow a PostgreSQL server; what others promise of their slots has not been shown to hold"),
        );
    }
    if facts.version < 140_000 {
        problems.push(
            Error::blocked("the server is older than PostgreSQL 14")
                .remedy("Tailwater follows PostgreSQL 14 and later"),
        );
    }
    if facts.wal_level != "logical" {
        problems.push(
            Error::blocked(format!("the server's wal_level is {}", facts.wal_level))
                .remedy("set wal_level = logical in postgresql.conf and restart the server"),
        );
    }
    if !facts.may_replicate {
        problems.push(
            Error::blocked("the user of the database URL has no REPLICATION right")
                .remedy("run: ALTER ROLE ... REPLICATION"),
        );
    }
    problems
}

/// What may go wrong with a server that can be followed.
pub(super) fn doubts(facts: &Facts) -> Vec<Error> {
    let mut doubts = Vec::new();
    // Fixed 2025-05: changes of a transaction that is open while its table joins a publication were not decoded.
    if let Some(fixed) = before(facts.version, [140_018, 150_013, 160_009, 170_005]) {
        doubts.push(
            Error::blocked(format!("the server, before {fixed}, loses changes of transactions that are open while their table joins a publication"))
                .remedy(format!("upgrade to {fixed} or later")),
        );
    // Fixed 2025-08: DDL beside many open transactions took memory without bound.
    } else if let Some(fixed) = before(facts.version, [140_019, 150_014, 160_010, 170_006]) {
        doubts.push(
            Error::blocked(format!("decoding on the server, before {fixed}, may run out of memory where tables are changed beside many transactions"))
                .remedy(format!("upgrade to {fixed} or later")),
        );
    }
    if facts.too_mighty {
        doubts.push(
            Error::blocked("the user of the database URL may do more than it needs: it is a superuser, or may create roles or pass row security")
                .remedy("give the pipeline a role of its own with LOGIN, REPLICATION and SELECT on its tables"),
        );
    }
    doubts
}

/// The first fixed release of its major version that a server is older than.
fn before(version: u32, fixed: [u32; 4]) -> Option<String> {
    let fixed = fixed.into_iter().find(|fixed| fixed / 10_000 == version / 10_000)?;
    (version < fixed).then(|| format!("{}.{}", fixed / 10_000, fixed % 10_000))
}

/// Who it is, by what `version()` says, where it is not PostgreSQL.
fn look_alike(banner: &str) -> Option<&str> {
    let kin = [
        ("-YB-", "YugabyteDB"),
        ("Redshift", "Amazon Redshift"),
        ("Greenplum", "Greenplum"),
        ("Materialize", "Materialize"),
    ];
    let named = kin.into_iter().find(|(mark, _)| banner.contains(mark)).map(|(_, name)| name);
    named.or_else(|| {
        let genuine = banner.starts_with("PostgreSQL ") || banner.starts_with("EnterpriseDB ");
        (!genuine).then(|| banner.split_whitespace().next().unwrap_or("nameless"))
    })
}

/// What making a slot waits for.
pub(super) async fn holders(client: &Client, facts: &Facts) -> Result<String> {
    if facts.standby {
        return Ok(
            "its primary to tell which transactions run: SELECT pg_log_standby_snapshot() there hastens it".to_owned()
        );
    }
    let row = client
        .query_one(
            "SELECT (SELECT string_agg(pid::text, ', ' ORDER BY xact_start) FROM pg_catalog.pg_stat_activity
                    WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()),
                (SELECT string_agg(quote_literal(gid), ', ' ORDER BY prepared) FROM pg_catalog.pg_prepared_xacts)",
            &[],
        )
        .await
        .map_err(|error| sql_error(error, "looking for open transactions"))?;
    let processes: Option<&str> = row.get(0);
    let prepared: Option<&str> = row.get(1);
    Ok(match (processes, prepared) {
        (Some(processes), None) => format!("open transactions, of processes {processes}"),
        (None, Some(prepared)) => format!("prepared transactions: {prepared}"),
        (Some(processes), Some(prepared)) => {
            format!("open transactions, of processes {processes}, and prepared ones: {prepared}")
        }
        (None, None) => "transactions that are open on the server".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_told_from_postgresql() {
        for genuine in [
            "PostgreSQL 17.10 on x86_64-pc-linux-gnu, compiled by gcc (GCC) 8.5.0, 64-bit",
            "PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu",
            "EnterpriseDB 17.2.0 on x86_64-pc-linux-gnu",
        ] {
            assert_eq!(look_alike(genuine), None, "{genuine}");
        }
        for (banner, kind) in [
            ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu", "YugabyteDB"),
            ("PostgreSQL 15.12-YB-2025.1.0.0-b0 on x86_64-pc-linux-gnu", "YugabyteDB"),
            ("PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC, Redshift 1.0.77467", "Amazon Redshift"),
            ("PostgreSQL 12.12 (Greenplum Database 7.1.0 build) on x86_64", "Greenplum"),
            ("PostgreSQL 9.5 on x86_64-unknown-linux-gnu (Materialize v0.100.0)", "Materialize"),
            ("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", "CockroachDB"),
            ("", "nameless"),
        ] {
            assert_eq!(look_alike(banner), Some(kind), "{banner}");
        }
    }

    #[test]
    fn servers_with_known_faults_are_told_which_release_mends_them() {
        let facts = |version| Facts {
            version,
            encoding: "UTF8".into(),
            wal_level: "logical".into(),
            database: "shop".into(),
            banner: "PostgreSQL".into(),
            may_replicate: true,
            too_mighty: false,
            standby: false,
        };
        let said = |version| doubts(&facts(version)).iter().map(|error| error.what().to_owned()).collect::<Vec<_>>();
        assert!(said(150_012)[0].contains("before 15.13, loses"));
        assert!(said(170_005)[0].contains("before 17.6, may run out"));
        for fine in [140_019, 150_014, 160_010, 170_006, 180_000] {
            assert!(said(fine).is_empty(), "{fine}");
        }
        let mighty = Facts { too_mighty: true, ..facts(180_000) };
        assert!(doubts(&mighty)[0].what().contains("superuser"));
    }
}
