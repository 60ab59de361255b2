//! Everything that is wrong with a source, at once.

use super::options::{Options, Partitioned};
use super::snapshot::looks;
use super::wire::Wire;
use super::{catalog, failover, forms, history, partitions, portion, publication, server, slot, sql};
use crate::model::{Error, Result, Table, TableName};

/// What a check found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub problems: Vec<Error>,
    /// What may be wrong.
    pub notes: Vec<Error>,
    /// The tables that would be followed.
    pub tables: Vec<TableName>,
}

/// Looks at everything, as far as it can get.
pub async fn check(options: &Options) -> Findings {
    let mut findings = Findings::default();
    if let Err(error) = look(options, &mut findings).await {
        findings.problems.push(error);
    }
    findings
}

async fn look(options: &Options, findings: &mut Findings) -> Result<()> {
    let Findings { problems, notes, tables: names } = findings;
    let client = sql::connect(&options.endpoint, "tailwater check").await?;
    let facts = catalog::facts(&client).await?;
    problems.extend(server::unfit(&facts));
    notes.extend(server::doubts(&facts));
    if facts.may_replicate {
        let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let connected = Wire::connect(&options.endpoint, "tailwater check", encoding, options.connect_timeout).await;
        problems.extend(connected.err().map(|error| error.within("the replication connection")));
    }
    if options.schema_history {
        problems.extend(history::kept(&client).await.err());
    }
    let tables = catalog::matching(&client, options).await?;
    names.extend(tables.iter().map(|table| table.name.clone()));
    if tables.is_empty() {
        problems.push(
            Error::blocked("no table matches source.postgres.tables")
                .remedy("check the patterns: they are matched with schema.table"),
        );
    }
    for table in &tables {
        if !table.readable {
            problems.push(Error::blocked(format!("table {} may not be read", table.name)).remedy(format!(
                "run: GRANT SELECT ON {} TO the user of the database URL",
                catalog::quoted_table(&table.name)
            )));
        }
        if !table.updatable {
            notes.push(
                Error::blocked(format!("table {} has no replica identity: once it is published PostgreSQL refuses its UPDATEs and DELETEs", table.name))
                    .remedy("give it a primary key or REPLICA IDENTITY FULL, or exclude it; fine as it is if it only gets INSERTs"),
            );
        }
    }
    if options.form.in_binary() {
        problems.extend(forms::refused(&client, options, facts.version, &tables).await?);
    }
    problems.extend(slot::able(options, &facts).err());
    if !facts.standby {
        for (found, portion) in publication::portions(options, &tables) {
            problems.extend(portion::probe(&client, options, facts.version, found, portion).await.err());
        }
    }
    match publication::published(&client, &options.publication).await {
        Err(error) => problems.push(error),
        Ok(None) if !options.create => problems.push(
            Error::blocked(format!("publication {} does not exist", options.publication))
                .remedy("create it, or set create = true"),
        ),
        Ok(None) => {}
        Ok(Some(published)) => {
            if options.partitions == Partitioned::Leaf {
                problems.extend(partitions::by_leaf(&client, &options.publication, &tables).await.err());
            }
            let missing: Vec<String> =
                tables.iter().filter(|t| !published.contains_key(&t.name)).map(|t| t.name.to_string()).collect();
            if !missing.is_empty() && !options.create {
                problems.push(
                    Error::blocked(format!("publication {} lacks {}", options.publication, missing.join(", ")))
                        .remedy("add the tables with ALTER PUBLICATION ... ADD TABLE"),
                );
            }
        }
    }
    let found = slot::find(&client, &options.slot, &facts).await;
    if let Ok(found) = &found {
        notes.extend(failover::gaps(&client, &options.slot, &facts, found.as_ref()).await?);
    }
    match found {
        Err(error) => problems.push(error),
        Ok(None) if !options.create => problems.push(
            Error::blocked(format!("slot {} does not exist", options.slot)).remedy("create it, or set create = true"),
        ),
        Ok(None) => {}
        Ok(Some(found)) => {
            problems.extend(found.usable(options, &facts).err());
            problems.extend(found.held_by_another(options).err());
        }
    }
    Ok(())
}

/// The tables that would be followed, as the stream would describe them now.
pub async fn tables(options: &Options) -> Result<Vec<Table>> {
    let client = sql::connect(&options.endpoint, "tailwater schema").await?;
    let facts = catalog::facts(&client).await?;
    let mut tables = Vec::new();
    for found in catalog::matching(&client, options).await? {
        tables.push(looks(&client, &found, facts.version, &options.publication).await?.table);
    }
    Ok(tables)
}
