//! Latencies in buckets that grow with them: each is 3 % wide, and all of them fit in 16 KiB.

use std::time::Duration;

/// Bits of precision: a bucket is 1/32 of its value wide.
const BITS: u32 = 5;

/// How often each latency occurred.
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; 64 << BITS])
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        self.0[bucket(latency.as_nanos() as u64)] += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The latency that this share of all stays below, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        upper(found.unwrap_or(0)) as f64 / 1e6
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(1 << BITS);
    let shift = nanos.ilog2() - BITS;
    ((shift << BITS) + ((nanos >> shift) as u32 & ((1 << BITS) - 1))) as usize
}

fn upper(bucket: usize) -> u64 {
    let (shift, rest) = (bucket >> BITS, bucket & ((1 << BITS) - 1));
    ((1 << BITS) + rest as u64 + 1) << shift
}
