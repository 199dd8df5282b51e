//! `make bench`: how fast the server is, beside the ceiling of the same machine in the same minutes.
//!
//! A figure alone says little: the machine, its neighbours and the load generator are all in it. So
//! each path is measured next to a bare actix handler that does only what cannot be left out (the
//! ceiling), in turns, and what counts is the share of it that the server reaches.
//!
//! ```text
//! main        arguments, and the order of things
//! cases/      one file for each group of paths: what is asked, of whom, and the goal
//! measure     takes turns between the subjects of a case, and repeats what was disturbed
//! load        the load generator: raw HTTP/1.1 on keep-alive connections
//! answer      reading what comes back
//! ceiling/    the bare handlers, as a server of its own
//! server      a release `jeton` as a child process; the ceiling as another
//! child       processes that never outlive this one
//! database    fresh databases on the Postgres server of this run
//! machine     what /proc knows: CPU time, memory, and what others took
//! report      the table and the JSON
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a bench measures and stops at the first thing that is wrong, like a test"
)]

mod answer;
mod args;
mod bench;
mod cases;
mod ceiling;
mod child;
mod database;
mod histogram;
mod load;
mod machine;
mod measure;
mod report;
mod server;

use args::Args;
use bench::Bench;
use report::Report;

fn main() {
    let Some(args) = Args::read() else { return };
    if let Some(directory) = &args.ceiling {
        return ceiling::serve(directory);
    }
    child::stop_all_on_signals();
    // Children end with their guards; a panic unwinds through those.
    let mut report = Report::new(&args);
    let bench = Bench::new(args);
    for (name, run) in cases::ALL {
        if bench.args.wants(name) {
            run(&bench, &mut report);
        }
    }
    drop(bench);
    report.finish();
}
