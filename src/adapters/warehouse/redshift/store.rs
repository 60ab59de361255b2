//! Objects on S3: written for one COPY, removed after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStoreExt, RetryConfig};
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::warehouse::RedshiftOptions;
use crate::codecs::dialect::literal;
use crate::model::{Error, Result};

/// How long one request may take, an upload on a slow line too.
const PATIENCE: Duration = Duration::from_secs(300);

/// A bucket, a prefix in it, and the right to use them.
#[derive(Clone)]
pub(super) struct Store {
    s3: Arc<AmazonS3>,
    bucket: String,
    prefix: String,
    role: Option<String>,
    pub(super) region: String,
}

impl Store {
    /// Takes credentials and what is not configured from the standard AWS environment.
    pub(super) fn open(options: &RedshiftOptions) -> Result<Store> {
        // object_store's client asks for the process's; a second one changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(3),
                base: 2.0,
            },
            max_retries: 5,
            retry_timeout: Duration::from_secs(20),
        };
        let client = ClientOptions::new().with_timeout(PATIENCE).with_connect_timeout(Duration::from_secs(10));
        let mut builder =
            AmazonS3Builder::from_env().with_client_options(client).with_bucket_name(&options.bucket).with_retry(retry);
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(key) = &options.kms_key {
            builder = builder.with_sse_kms_encryption(key);
        }
        if let Some((id, secret)) = &options.keys {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let s3 = builder.build().map_err(|error| {
            Error::blocked("the access to S3 can't be set up")
                .remedy("check stage, region and endpoint of [sink.redshift], and AWS_* of the environment")
                .because(error)
        })?;
        Ok(Store {
            s3: Arc::new(s3),
            bucket: options.bucket.clone(),
            prefix: options.prefix.clone(),
            role: options.iam_role.clone(),
            region,
        })
    }

    /// Where an object of this name goes.
    pub(super) fn path(&self, name: &str) -> Path {
        let full = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::from(full)
    }

    /// The object as COPY and manifests name it.
    pub(super) fn url(&self, path: &Path) -> String {
        format!("s3://{}/{path}", self.bucket)
    }

    /// A list of objects, all of which COPY has to find, as long as they were written.
    pub(super) fn manifest(&self, entries: &[(Path, usize)]) -> Bytes {
        let entry = |(path, length): &(Path, usize)| serde_json::json!({"url": self.url(path), "mandatory": true, "meta": {"content_length": length}});
        let entries: Vec<_> = entries.iter().map(entry).collect();
        Bytes::from(serde_json::json!({"entries": entries}).to_string())
    }

    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        self.s3.put(path, bytes.into()).await.map(|_| ()).map_err(|error| failure(error, "writing", &self.bucket))
    }

    pub(super) async fn read(&self, path: &Path) -> Result<Bytes> {
        let failed = |error| failure(error, "reading", &self.bucket);
        self.s3.get(path).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        self.s3.delete(path).await.map_err(|error| failure(error, "deleting", &self.bucket))
    }

    /// The clause that lets Redshift read: fetched for each COPY, so that temporary credentials are always fresh ones.
    pub(super) async fn access(&self) -> Result<SecretString> {
        if let Some(role) = &self.role {
            return Ok(format!("IAM_ROLE {}", literal(role)).into());
        }
        let failed = |error| failure(error, "asking for credentials of", &self.bucket);
        let found = self.s3.credentials().get_credential().await.map_err(failed)?;
        let mut clause =
            format!("ACCESS_KEY_ID {} SECRET_ACCESS_KEY {}", literal(&found.key_id), literal(&found.secret_key));
        if let Some(token) = &found.token {
            clause.push_str(&format!(" SESSION_TOKEN {}", literal(token)));
        }
        Ok(clause.into())
    }
}

/// Whether a text holds something of a clause that must not be shown.
pub(super) fn betrays(text: &str, access: &SecretString) -> bool {
    // A role's name is no secret.
    let access = access.expose_secret();
    !access.starts_with("IAM_ROLE") && access.split('\'').skip(1).step_by(2).any(|secret| text.contains(secret))
}

/// What S3's refusal means.
fn failure(error: object_store::Error, doing: &str, bucket: &str) -> Error {
    let what = format!("{doing} the bucket {bucket} failed");
    let text = error.to_string();
    let heals = ["ExpiredToken", "RequestTimeTooSkewed", "SlowDown"].iter().any(|code| text.contains(code));
    // S3 does not say in its redirect where the bucket is.
    let elsewhere = ["PermanentRedirect", "AuthorizationHeaderMalformed", "redirect without LOCATION"];
    let region = elsewhere.iter().any(|part| text.contains(part));
    let (error_of, remedy): (fn(String) -> Error, &str) = match &error {
        _ if heals => (Error::transient, ""),
        _ if region => (Error::blocked, "set region in [sink.redshift] to the bucket's region"),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => (
            Error::blocked,
            "give the process s3:PutObject, s3:GetObject and s3:DeleteObject on the prefix, and s3:ListBucket on the bucket",
        ),
        _ if text.contains("NoSuchBucket") => (Error::blocked, "make the bucket, or mend stage in [sink.redshift]"),
        _ => (Error::transient, "check that S3 can be reached from here"),
    };
    let error = error_of(what).because(error).systemic();
    if remedy.is_empty() { error } else { error.remedy(remedy) }
}
