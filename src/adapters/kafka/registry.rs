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
    pub(super) fn number(&mut self, subject: &str, schema: &NamedSchema) -> Result<u32> {
        let known = (subject.to_owned(), schema.text.clone());
        if let Some(number) = self.known.get(&known) {
            return Ok(*number);
        }
        let escaped: String = url::form_urlencoded::byte_serialize(subject.as_bytes()).collect();
        let path = format!("subjects/{}", escaped.replace('+', "%20"));
        let path = if self.options.register { format!("{path}/versions") } else { path };
        let answer = self.call(&path, Some(&json!({ "schema": schema.text, "schemaType": schema.language })))?;
        let number = answer.body.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        match (answer.status, number) {
            (200, Some(number)) => {
                self.known.insert(known, number);
                Ok(number)
            }
            _ => Err(refusal(subject, &answer)),
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
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
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
    use super::*;

    #[test]
    fn addresses_are_told_without_their_secrets() {
        assert_eq!(bare("http://me:secret@host:8081/apis?token=x"), "http://host:8081/apis");
        assert_eq!(bare("no address"), "its address");
    }

    #[test]
    fn subjects_are_named_after_topic_record_or_both() {
        let registry = |subjects| {
            let options =
                RegistryOptions { urls: vec![], login: Login::None, authorities: None, subjects, register: true };
            Registry::new(options).unwrap()
        };
        for (subjects, key, value) in [
            (Subjects::Topic, "s.a.t-key", "s.a.t-value"),
            (Subjects::Record, "s.a.t.Key", "s.a.t.Envelope"),
            (Subjects::TopicRecord, "s.a.t-s.a.t.Key", "s.a.t-s.a.t.Envelope"),
        ] {
            let registry = registry(subjects);
            assert_eq!(registry.subject("s.a.t", Part::Key, "s.a.t.Key"), key);
            assert_eq!(registry.subject("s.a.t", Part::Value, "s.a.t.Envelope"), value);
        }
    }
}
