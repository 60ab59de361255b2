//! Passwords and TLS.

use tailwater::adapters::postgres::check;
use tailwater::model::Class;

use super::options;
use crate::support::certificates::ServerCertificate;
use crate::support::postgres::{PASSWORD, Postgres};

/// What is wrong with a URL, by the SQL connection and by the replication connection.
async fn problems(url: &str) -> Vec<String> {
    let found = check(&options(url, "access")).await;
    for problem in &found.problems {
        assert!(!problem.to_string().contains("secret-of"), "{problem}");
        assert!(!problem.to_string().contains(PASSWORD), "{problem}");
    }
    found.problems.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_password_method_lets_the_right_password_in_and_names_the_wrong_one() {
    for version in [15, 17] {
        let mut server = Postgres::version(version);
        for (role, method) in [("clear", "password"), ("hashed", "md5"), ("salted", "scram-sha-256"), ("free", "trust")]
        {
            server = server.hba(format!("host all {role} 127.0.0.1/32 {method}"));
        }
        let server = server.start();
        server.sql("create table t (id int primary key); grant all on t to public");
        for (role, stored) in
            [("clear", "scram-sha-256"), ("hashed", "md5"), ("salted", "scram-sha-256"), ("free", "md5")]
        {
            server.sql(&format!(
                "set password_encryption = '{stored}'; create role {role} login replication password 'secret-of-{role}'"
            ));
            let url = server.url_for(role, &format!("secret-of-{role}"), "postgres");
            assert_eq!(problems(&url).await, Vec::<String>::new(), "{role}");
            if role != "free" {
                let wrong = problems(&server.url_for(role, "secret-of-nobody", "postgres")).await;
                assert!(wrong.len() == 1 && wrong[0].contains("28P01"), "{role}: {wrong:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_trusts_as_much_as_it_says() {
    for kind in [ServerCertificate::Valid, ServerCertificate::WrongHost, ServerCertificate::Expired] {
        let server = Postgres::version(17).tls(kind).start();
        server.sql("create table t (id int primary key)");
        let (ca, other) = (server.ca().display().to_string(), server.other_ca().display().to_string());
        let valid = kind == ServerCertificate::Valid;
        let modes = [
            ("disable".to_owned(), true),
            ("prefer".to_owned(), true),
            ("require".to_owned(), true),
            (format!("verify-ca&sslrootcert={ca}"), kind != ServerCertificate::Expired),
            (format!("verify-full&sslrootcert={ca}"), valid),
            (format!("verify-ca&sslrootcert={other}"), false),
            (format!("verify-full&sslrootcert={other}"), false),
            ("verify-full".to_owned(), false),
            (format!("verify-full&sslrootcert={ca}.missing"), false),
        ];
        for (mode, accepted) in modes {
            let found = problems(&format!("{}?sslmode={mode}", server.url())).await;
            assert_eq!(found.is_empty(), accepted, "{kind:?} {mode}: {found:?}");
            assert!(accepted || found[0].contains("TLS") || found[0].contains("certificate"), "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_used_where_the_server_has_it_and_missed_where_it_is_required() {
    let secure = Postgres::version(17)
        .tls(ServerCertificate::Valid)
        .hba("hostssl all secured 127.0.0.1/32 scram-sha-256")
        .hba("hostnossl all secured 127.0.0.1/32 reject")
        .start();
    secure.sql("create table t (id int primary key); grant all on t to public; create role secured login replication password 'secret-of-x'");
    let url = secure.url_for("secured", "secret-of-x", "postgres");
    assert_eq!(problems(&url).await, Vec::<String>::new());
    let plain = problems(&format!("{url}?sslmode=disable")).await;
    assert!(plain.len() == 1 && plain[0].contains("28000"), "{plain:?}");

    let insecure = Postgres::shared(17);
    for mode in ["require", "verify-ca", "verify-full"] {
        let found = check(&options(&format!("{}?sslmode={mode}", insecure.url()), "access")).await.problems;
        assert_eq!((found.len(), found[0].class()), (1, Class::Blocked), "{mode}: {found:?}");
    }
}
