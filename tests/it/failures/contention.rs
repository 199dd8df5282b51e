//! Transactions that lose races: a database that is serializable, two servers, and many refreshes of
//! few families at once.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::session::try_refresh_at;
use crate::support::{TestDatabase, database};

/// So many present one token at once: of four families, 64.
const AT_ONCE: usize = 16;

/// One token at both servers, by so many at once; a 503 is answered by coming again.
async fn race(addresses: &[String], client: &str, token: &str, report: &Report) -> HashSet<String> {
    let one = |n: usize| async move {
        for _ in 0..50 {
            let address = &addresses[n % addresses.len()];
            let answer = try_refresh_at(address, client, token, "").await.unwrap();
            report.outcome(&answer.status.to_string());
            match answer.status {
                200 => return answer.json()["refresh_token"].as_str().map(str::to_owned),
                503 if answer.header("retry-after") == "1" => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                status => {
                    report.violation(format!("{client} was answered {status}"));
                    return None;
                }
            }
        }
        report.violation(format!("{client} was told fifty times to come again"));
        None
    };
    join_all((0..AT_ONCE).map(one)).await.into_iter().flatten().collect()
}

#[actix_web::test]
async fn on_a_serializable_database_one_of_many_advances_and_all_get_the_same_successor() {
    if !has_server("8. races on a serializable database") {
        return;
    }
    for batching in ["false", "true"] {
        let report =
            Report::of(&format!("8. races on a serializable database, batching {batching}"));
        let (database, directory) = (TestDatabase::new(), directory());
        let (_, name) = database.url.rsplit_once('/').unwrap();
        let set =
            format!("alter database {name} set default_transaction_isolation = 'serializable'");
        database::admin(&database.direct, &set);
        let settings = [("JETON__REFRESH__BATCHING", batching)];
        let one = start(&database.url, directory.path(), "one", &settings).await;
        let other = start(&database.url, directory.path(), "other", &settings).await;
        let addresses = [one.public.clone(), other.public.clone()];
        let world = World::at(&database.url, directory.path()).await;
        let mut families = Vec::new();
        for client in ["web", "spa", "windowed", "web"] {
            families.push((client, world.begin(client).await));
        }
        for round in 1..=rounds(10, 200) {
            report.round();
            let all =
                families.iter().map(|(client, token)| race(&addresses, client, token, &report));
            let successors = join_all(all).await;
            for ((client, token), successors) in families.iter_mut().zip(successors) {
                let family = world.family(world.read(token).family).await.unwrap();
                if successors.len() != 1 || family.generation as usize != round {
                    let (count, at) = (successors.len(), family.generation);
                    report
                        .violation(format!("{client}: {count} successors, {at} in round {round}"));
                }
                *token = successors
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| world.token(family.id, family.generation));
            }
        }
        if world.events("family_reused").await > 0 {
            report.violation("a family was ended as if it had been stolen".to_owned());
        }
        world.lost_nothing(&report).await;
        report.end();
    }
}
