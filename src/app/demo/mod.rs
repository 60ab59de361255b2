//! stub
/// options
pub struct DemoOptions {
    /// s
    pub seconds: u64,
    /// d
    pub database_url: Option<String>,
}
/// demo
pub async fn demo(_: DemoOptions) -> crate::model::Result<()> {
    Ok(())
}
