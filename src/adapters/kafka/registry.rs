//! The schema registry: Confluent's API, as far as a producer needs it.
//!
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::{Login, RegistryOptions, Subjects};
use crate::codecs::event::NamedSchema;
use crate::model::{Error, Result};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// Which part of a record a schema is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Key,
    Value,
}

/// Knows the numbers of schemas. Its calls block.
pub(super) struct Registry {
    agent: Agent,
    options: RegistryOptions,
    /// Which address answered last.
    at: usize,
    known: HashMap<(String, String), u32>,
}

/// Why a schema has no number.
#[derive(Debug)]
pub(super) enum Denied {
    /// The registry refuses this schema: those of other tables may have numbers.
    Schema(Error),
    /// It gives none to anything.
    All(Error),
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Error {
        match denied {
            Denied::Schema(error) | Denied::All(error) => error,
        }
    }
}

/// What the registry said.
struct Answer {
    status: u16,
    body: Value,
}

impl Registry {
    pub(super) fn new(options: RegistryOptions) -> Result<Registry> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::Specific(Arc::new(authorities(&options)?)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .max_redirects(0)
            .build()
            .new_agent();
        Ok(Registry { agent, options, at: 0, known: HashMap::new() })
    }

    /// The subject of a topic's schema.
    pub(super) fn subject(&self, topic: &str, part: Part, full_name: &str) -> String {
        match (self.options.subjects, part) {
            (Subjects::Topic, Part::Key) => format!("{topic}-key"),
            (Subjects::Topic, Part::Value) => format!("{topic}-value"),
            (Subjects::Record, _) => full_name.to_owned(),
            (Subjects::TopicRecord, _) => format!("{topic}-{full_name}"),
        }
    }

    /// The number of a schema under a subject, registered when it is new.
    pub(super) fn number(&mut self, subject: &str, schema: &NamedSchema) -> Result<u32, Denied> {
        let known = (subject.to_owned(), schema.text.clone());
        if let Some(number) = self.known.get(&known) {
            return Ok(*number);
        }
        let escaped: String = url::form_urlencoded::byte_serialize(subject.as_bytes()).collect();
        let path = format!("subjects/{}", escaped.replace('+', "%20"));
        let path = if self.options.register { format!("{path}/versions") } else { path };
        let answer = self.call(&path, Some(&asked(schema))).map_err(Denied::All)?;
        let number = answer.body.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        match (answer.status, number) {
            (200, Some(number)) => {
                self.known.insert(known, number);
                Ok(number)
            }
            (404 | 409 | 422, _) => Err(Denied::Schema(refusal(subject, &answer))),
            _ => Err(Denied::All(refusal(subject, &answer))),
        }
    }

    /// The text of the schema with this number. A registry that refuses us is of no single topic.
    pub(super) fn schema(&mut self, number: u32) -> Result<String> {
        let answer = self.call(&format!("schemas/ids/{number}"), None).map_err(Error::systemic)?;
        let text = |key: &str| answer.body.get(key).and_then(Value::as_str);
        match (answer.status, text("schemaType"), text("schema")) {
            (200, None | Some("AVRO"), Some(schema)) => Ok(schema.to_owned()),
            (200, Some(language), _) => {
                Err(Error::blocked(format!("schema {number} of the registry is {language}, not Avro"))
                    .remedy("have the connector write JSON or Avro"))
            }
            (404, ..) => Err(Error::blocked(format!("the registry has no schema {number}"))
                .remedy("the topics were written with another registry's schemas: correct source.kafka.registry")),
            _ => Err(refusal("", &answer).systemic()),
        }
    }

    /// Whether the registry answers us.
    pub(super) fn check(&mut self) -> Result<()> {
        let answer = self.call("subjects", None)?;
        if answer.status == 200 { Ok(()) } else { Err(refusal("", &answer)) }
    }

    /// Asks the addresses in turn, beginning with the one that answered last.
    fn call(&mut self, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut last = Error::blocked("the registry has no address");
        for turn in 0..self.options.urls.len() {
            let at = (self.at + turn) % self.options.urls.len();
            let Some(base) = self.options.urls.get(at) else { continue };
            match self.ask(&format!("{}/{path}", base.trim_end_matches('/')), body) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    self.at = at;
                    return Ok(answer);
                }
                Ok(answer) => last = busy(base, &answer),
                Err(error) => last = unreachable(base, error),
            }
        }
        Err(last)
    }

    fn ask(&self, url: &str, body: Option<&Value>) -> Result<Answer, ureq::Error> {
        let login = match &self.options.login {
            Login::None => None,
            Login::Basic(user, password) => {
                let both = format!("{user}:{}", password.expose_secret());
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both)))
            }
            Login::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
        };
        let mut response = match body {
            None => {
                let request = self.agent.get(url).header("Accept", CONTENT);
                login.iter().fold(request, |request, login| request.header("Authorization", login)).call()?
            }
            Some(body) => {
                let request = self.agent.post(url).header("Accept", CONTENT).header("Content-Type", CONTENT);
                let request = login.iter().fold(request, |request, login| request.header("Authorization", login));
                request.send(body.to_string())?
            }
        };
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

/// What a schema is asked for with. Registries that know nothing but Avro refuse to be told a language.
fn asked(schema: &NamedSchema) -> Value {
    match schema.language {
        "AVRO" => json!({ "schema": schema.text }),
        language => json!({ "schema": schema.text, "schemaType": language }),
    }
}

fn authorities(options: &RegistryOptions) -> Result<Vec<Certificate<'static>>> {
    let Some(path) = &options.authorities else {
        let native = rustls_native_certs::load_native_certs().certs;
        return Ok(native.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect());
    };
    let unusable = |why: String| {
        Error::blocked(format!("{} can't be used to verify the registry: {why}", path.display()))
            .remedy("check that it exists and holds certificates in PEM")
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let all: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if all.is_empty() { Err(unusable("it holds no certificate".to_owned())) } else { Ok(all) }
}

/// What the registry gives as its reason; it speaks of schemas, never of rows.
fn reason(answer: &Answer) -> String {
    let message = answer.body.get("message").and_then(Value::as_str);
    message.map_or_else(|| format!("HTTP status {}", answer.status), |message| message.trim().to_owned())
}

fn busy(url: &str, answer: &Answer) -> Error {
    Error::transient(format!("the schema registry at {} answers: {}", bare(url), reason(answer)))
}

fn unreachable(url: &str, error: ureq::Error) -> Error {
    let error = match error {
        ureq::Error::BadUri(_) => {
            return Error::blocked(format!("{} is no address of a schema registry", bare(url)))
                .remedy("write it as in registry = \"http://registry:8081\"");
        }
        // A certificate that is not trusted does not heal by waiting.
        error if untrusted(&error) => {
            return Error::blocked(format!("the schema registry at {} can't be trusted", bare(url)))
                .remedy("name the file of its certificate authority with registry_options.authorities")
                .because(error);
        }
        error => error,
    };
    Error::transient(format!("the schema registry at {} does not answer", bare(url)))
        .because(error)
        .remedy("check that it runs and can be reached from here")
}

fn untrusted(error: &ureq::Error) -> bool {
    let of_tls = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    match error {
        ureq::Error::Rustls(error) => of_tls(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(of_tls),
        _ => false,
    }
}

/// The address without what may be secret.
fn bare(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string().trim_end_matches('/').to_owned()
        }
        Err(_) => "its address".to_owned(),
    }
}

/// Why a schema has no number.
fn refusal(subject: &str, answer: &Answer) -> Error {
    let said = reason(answer);
    let about = if subject.is_empty() { String::new() } else { format!(" of subject {subject}") };
    match answer.status {
        409 => Error::blocked(format!("the registry refuses the schema{about} as incompatible: {said}")).remedy(
            "consumers of the older schema could not read the new events: make the change compatible, or have the \
             subject's compatibility level relaxed (or the subject deleted), then start again; nothing is lost",
        ),
        422 => Error::blocked(format!("the registry refuses the schema{about}: {said}"))
            .remedy("if the subject holds schemas of another format, give this pipeline another prefix"),
        401 | 403 => Error::blocked(format!("the registry refuses us: {said}"))
            .remedy("check registry_options.user and password, or token, and their rights on the subjects"),
        404 if !subject.is_empty() => Error::blocked(format!("the registry does not know the schema{about}: {said}"))
            .remedy("register it first, or set registry_options.register = true"),
        404 => Error::blocked("there is no schema registry at this address")
            .remedy("the path may be missing: Apicurio's API is under /apis/ccompat/v7"),
        _ => Error::blocked(format!("the registry gives the schema{about} no number: {said}"))
            .remedy("check the registry's address and its log"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use secrecy::SecretString;

    use super::*;
    use crate::model::Class;

    /// Answers one request after the other as it is told to; its address's port, and what it was asked.
    fn serve(
        answers: Vec<(u16, &'static str)>,
        tls: Option<Arc<ServerConfig>>,
    ) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let one = |(status, body): (u16, &str)| {
                let (stream, _): (TcpStream, _) = listener.accept().unwrap();
                match &tls {
                    None => answer(stream, status, body),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        answer(StreamOwned::new(connection, stream), status, body)
                    }
                }
            };
            answers.into_iter().map(one).collect()
        };
        (port, std::thread::spawn(serve))
    }

    /// What was asked, headers and body; empty when the client went away before.
    fn answer(mut stream: impl Read + Write, status: u16, body: &str) -> String {
        let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let Ok(count) = stream.read(&mut piece) else { return String::new() };
            asked.extend_from_slice(piece.get(..count).unwrap());
            let text = String::from_utf8(asked.clone()).unwrap().to_ascii_lowercase();
            let Some((head, rest)) = text.split_once("\r\n\r\n") else {
                if count == 0 {
                    return String::new();
                }
                continue;
            };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if count == 0 || rest.len() >= length.unwrap_or(0) {
                break;
            }
        }
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let _ = stream.flush();
        String::from_utf8(asked).unwrap()
    }

    fn options(urls: Vec<String>, login: Login) -> RegistryOptions {
        RegistryOptions { urls, login, authorities: None, subjects: Subjects::Topic, register: true }
    }

    fn schema() -> NamedSchema {
        NamedSchema { language: "AVRO", name: "a".into(), text: "\"int\"".into() }
    }

    fn local(port: u16) -> String {
        format!("http://127.0.0.1:{port}/api/")
    }

    #[test]
    fn a_schema_is_asked_for_once_with_who_we_are() {
        let secret = || SecretString::from("it's me".to_owned());
        for (login, header) in [
            (Login::None, None),
            (Login::Basic("us".into(), secret()), Some("Basic dXM6aXQncyBtZQ==")),
            (Login::Bearer(secret()), Some("Bearer it's me")),
        ] {
            let (port, asked) = serve(vec![(200, "{\"id\": 4711}")], None);
            let mut registry = Registry::new(options(vec![local(port)], login)).unwrap();
            assert_eq!(registry.number("a b/c-value", &schema()).unwrap(), 4711);
            assert_eq!(registry.number("a b/c-value", &schema()).unwrap(), 4711);
            let asked = asked.join().unwrap().concat();
            assert!(asked.starts_with("POST /api/subjects/a%20b%2Fc-value/versions HTTP/1.1\r\n"), "{asked}");
            let found = asked
                .lines()
                .find_map(|line| line.strip_prefix("authorization: ").or(line.strip_prefix("Authorization: ")));
            assert_eq!(found, header, "{asked}");
            assert!(
                asked.contains("vnd.schemaregistry.v1+json") && asked.ends_with("{\"schema\":\"\\\"int\\\"\"}"),
                "{asked}"
            );
        }
    }

    #[test]
    fn each_refusal_says_what_to_do_and_only_what_may_heal_is_tried_again() {
        for (status, body, class, says) in [
            (409, "{\"message\": \"no default\"}", Class::Blocked, "incompatible: no default"),
            (422, "{\"message\": \"not Avro\"}", Class::Blocked, "another prefix"),
            (401, "", Class::Blocked, "registry_options.user"),
            (403, "", Class::Blocked, "rights"),
            (404, "", Class::Blocked, "registry_options.register"),
            (200, "hello", Class::Blocked, "no number"),
            (200, "{\"id\": -1}", Class::Blocked, "no number"),
            (302, "", Class::Blocked, "no number"),
            (500, "{\"message\": \"busy\"}", Class::Transient, "busy"),
            (429, "", Class::Transient, "429"),
        ] {
            let (port, asked) = serve(vec![(status, body)], None);
            let mut registry = Registry::new(options(vec![local(port)], Login::None)).unwrap();
            let denied = registry.number("s", &schema()).unwrap_err();
            asked.join().unwrap();
            let of_one = matches!(denied, Denied::Schema(_));
            assert_eq!(of_one, [404, 409, 422].contains(&status), "{status}: {denied:?}");
            let error = Error::from(denied);
            assert_eq!(error.class(), class, "{status}: {error}");
            assert!(error.to_string().contains(says), "{status}: {error}");
        }
    }

    #[test]
    fn another_address_is_tried_when_one_is_busy_and_kept() {
        let (busy, _) = serve(vec![(503, "")], None);
        let (fine, asked) = serve(vec![(200, "{\"id\": 1}"), (200, "{\"id\": 2}")], None);
        let mut registry = Registry::new(options(vec![local(busy), local(fine)], Login::None)).unwrap();
        assert_eq!((registry.number("a", &schema()).unwrap(), registry.number("b", &schema()).unwrap()), (1, 2));
        assert_eq!(asked.join().unwrap().len(), 2);
    }

    #[test]
    fn a_certificate_is_verified_with_the_authority_that_is_named() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .unwrap();
        let config = Arc::new(config);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        for (authorities, fine) in [(Some(file.path().to_owned()), true), (None, false)] {
            let (port, asked) = serve(vec![(200, "{\"id\": 9}")], Some(Arc::clone(&config)));
            let url = format!("https://localhost:{port}");
            let options = RegistryOptions { authorities, ..options(vec![url], Login::None) };
            let outcome = Registry::new(options).unwrap().number("s", &schema());
            asked.join().unwrap();
            match outcome {
                Ok(number) => assert!(fine && number == 9),
                Err(denied) => {
                    let error = Error::from(denied);
                    let told = error.class() == Class::Blocked && error.to_string().contains("trusted");
                    assert!(!fine && told, "{error}");
                }
            }
        }
    }

    #[test]
    fn addresses_are_told_without_their_secrets() {
        assert_eq!(bare("http://me:secret@host:8081/apis?token=x"), "http://host:8081/apis");
        assert_eq!(bare("no address"), "its address");
    }

    #[test]
    fn subjects_are_named_after_topic_record_or_both() {
        for (subjects, key, value) in [
            (Subjects::Topic, "s.a.t-key", "s.a.t-value"),
            (Subjects::Record, "s.a.t.Key", "s.a.t.Envelope"),
            (Subjects::TopicRecord, "s.a.t-s.a.t.Key", "s.a.t-s.a.t.Envelope"),
        ] {
            let registry = Registry::new(RegistryOptions { subjects, ..options(vec![], Login::None) }).unwrap();
            assert_eq!(registry.subject("s.a.t", Part::Key, "s.a.t.Key"), key);
            assert_eq!(registry.subject("s.a.t", Part::Value, "s.a.t.Envelope"), value);
        }
    }
}
