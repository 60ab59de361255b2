//! Where rows wait on S3 for Redshift's COPY.

use secrecy::SecretString;

/// What the files are that COPY reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ObjectFormat {
    /// Parquet, which Redshift reads through Spectrum.
    #[default]
    Parquet,
    /// CSV, where a bucket's policy keeps Spectrum out.
    Csv,
}

/// The formats' names in the configuration.
pub const OBJECT_FORMATS: [(&str, ObjectFormat); 2] = [("parquet", ObjectFormat::Parquet), ("csv", ObjectFormat::Csv)];

/// Where objects are put for COPY, and how it may read them.
#[derive(Clone, Debug)]
pub struct RedshiftOptions {
    /// The bucket.
    pub bucket: String,
    /// What every object's name begins with, without slashes around it.
    pub prefix: String,
    /// The bucket's region; the environment's when absent.
    pub region: Option<String>,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// The role under which the cluster reads; the process's own credentials go into COPY when absent.
    pub iam_role: Option<String>,
    /// The key that objects are encrypted with; the bucket's default when absent.
    pub kms_key: Option<String>,
    /// A key's id and its secret; the environment's when absent.
    pub keys: Option<(String, SecretString)>,
    /// What the objects are.
    pub format: ObjectFormat,
    /// Into how many objects the rows of one table's flush are split at most: the cluster's slices.
    pub files: usize,
}

impl RedshiftOptions {
    /// Takes `s3://bucket/prefix` apart; `None` when it is something else.
    pub fn place(url: &str) -> Option<(String, String)> {
        let (bucket, prefix) = url.strip_prefix("s3://")?.split_once('/').unwrap_or((url.strip_prefix("s3://")?, ""));
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        let prefix = prefix.trim_matches('/');
        let fine = (3..=63).contains(&bucket.len()) && bucket.chars().all(legal);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '=' | '!');
        let part = |part: &str| !part.is_empty() && !part.chars().all(|c| c == '.') && part.chars().all(plain);
        let clean = prefix.is_empty() || prefix.split('/').all(part);
        (fine && clean).then(|| (bucket.to_owned(), prefix.to_owned()))
    }
}
