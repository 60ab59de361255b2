//! One process among several of a consumer group: it waits for its turn, and stops when that is over.
//!
//! A membership lasts as long as an attempt: who fails leaves, and another may do better.

use super::config::Config;
use super::wiring::{Attempts, work};
use crate::adapters::kafka::{Member, SourceOptions};
use crate::logic::pipeline::Run;
use crate::model::role::Role;
use crate::model::{Meters, Result};

/// One attempt as a member of the group.
pub(super) async fn once(config: &Config, run: &Run, attempts: &mut Attempts, options: &SourceOptions) -> Result<()> {
    run.meters.play(Role::Joining);
    let member = tokio::select! {
        member = Member::join(options) => member?,
        () = run.stop.cancelled() => return Ok(()),
    };
    let result = take_part(config, run, attempts, options, &member).await;
    run.meters.play(Role::Joining);
    attempts.display = None;
    member.leave().await;
    result
}

async fn take_part(
    config: &Config,
    run: &Run,
    attempts: &mut Attempts,
    options: &SourceOptions,
    member: &Member,
) -> Result<()> {
    tokio::select! {
        joined = member.joined() => joined?,
        () = run.stop.cancelled() => return Ok(()),
    }
    attempts.started = true;
    if options.membership.as_ref().is_some_and(|membership| membership.share) {
        return super::share::share(config, run, attempts, options, member).await;
    }
    standing_by(&run.meters);
    let term = tokio::select! {
        biased;
        term = member.leads() => term?,
        () = run.stop.cancelled() => return Ok(()),
    };
    tracing::info!("this process leads its consumer group");
    run.meters.play(Role::Leader);
    attempts.display = Some(member.display());
    let done = tokio::select! {
        biased;
        // What it does is dropped where it stands; the warehouse rolls back.
        over = member.deposed(term) => return Err(over),
        done = work(config, run, attempts) => done,
    };
    match done {
        Err(error) => Err(member.judge(term, error).await),
        Ok(()) => Ok(()),
    }
}

fn standing_by(meters: &Meters) {
    meters.play(Role::Standby);
    tracing::info!("standing by: a member of the consumer group that takes over when its leader goes");
}
