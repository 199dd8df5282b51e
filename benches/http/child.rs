//! Child processes that never outlive this one, however it ends.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Processes that must not outlive this one.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running<T>(act: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    act(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Ends every child, then this process, when a signal asks for it.
pub fn stop_all_on_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).unwrap();
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            running(|pids| {
                for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            });
            std::process::exit(130);
        });
    });
}

/// A child that runs until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap();
        running(|pids| pids.insert(child.id().cast_signed()));
        Self(child)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until it has ended; `None` if it takes longer than that.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// What it wrote to the pipe that it was given as its standard output, once it has ended.
    pub fn output(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Kills it and waits until it is gone.
    pub fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        running(|pids| pids.remove(&self.pid().cast_signed()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
