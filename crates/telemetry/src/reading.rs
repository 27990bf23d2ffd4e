//! What the meters say, for pages that people look at.

use prometheus::{Histogram, core::Metric};

use crate::families::SECONDS;

/// How long things took, as far as buckets know.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// How long all of them took together, in seconds.
    pub sum: f64,
    /// How many took at most as long as each of the [`bounds`](Latency::bounds).
    pub within: [u64; SECONDS.len()],
}

/// What a route's meters say.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteReading {
    /// The route's name; `-` for requests that none took.
    pub name: String,
    /// How many requests are over, by the class of their status: `1xx` to `5xx`, and last those that got no answer.
    pub classes: [u64; 6],
    /// How many are being served.
    pub in_flight: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
    /// From a request's first byte until its answer was sent.
    pub latency: Latency,
}

/// What an upstream's meters say.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamReading {
    /// The upstream's name.
    pub name: String,
    /// From an attempt's start until the head of its answer.
    pub first_byte: Latency,
    /// How long new connections took to make.
    pub connect: Latency,
    /// How often each backend answered with each code, or why it did not: backend, code, how often.
    pub answers: Vec<(String, String, u64)>,
}

impl Latency {
    /// The upper bounds of the buckets, in seconds.
    pub const fn bounds() -> &'static [f64] {
        &SECONDS
    }

    /// Adds what a histogram has observed.
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        let metric = histogram.metric();
        let observed = metric.get_histogram();
        self.count += observed.get_sample_count();
        self.sum += observed.get_sample_sum();
        for (within, bucket) in self.within.iter_mut().zip(observed.get_bucket()) {
            *within += bucket.cumulative_count();
        }
    }

    /// How long the given share of them took at most, estimated within a bucket as Prometheus does; `None` while there
    /// were none. What took longer than the last bound counts as that.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = share * self.count as f64;
        let Some(bucket) = self.within.iter().position(|within| *within as f64 >= rank) else {
            return SECONDS.last().copied();
        };
        let (low, before) = match bucket {
            0 => (0.0, 0),
            bucket => (SECONDS[bucket - 1], self.within[bucket - 1]),
        };
        let inside = self.within[bucket].saturating_sub(before) as f64;
        let part = if inside > 0.0 { (rank - before as f64) / inside } else { 1.0 };
        Some(low + (SECONDS[bucket] - low) * part)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    fn latency(observed: &[f64]) -> Latency {
        let histogram = Histogram::with_opts(HistogramOpts::new("n", "n").buckets(SECONDS.to_vec())).unwrap();
        observed.iter().for_each(|seconds| histogram.observe(*seconds));
        let mut latency = Latency::default();
        latency.add(&histogram);
        latency
    }

    #[test]
    fn quantiles_are_estimated_within_their_bucket() {
        assert_eq!(Latency::default().quantile(0.5), None);
        // Four between 10 and 25 ms: the median is in the middle of that bucket.
        let even = latency(&[0.012, 0.014, 0.018, 0.02]);
        assert!((even.quantile(0.5).unwrap() - 0.0175).abs() < 1e-9, "{even:?}");
        assert_eq!(even.quantile(1.0), Some(0.025));
        let tail = latency(&[0.001, 0.001, 0.001, 60.0]);
        assert!(tail.quantile(0.5).unwrap() <= 0.005);
        assert_eq!(tail.quantile(0.99), Some(10.0), "beyond the last bound nothing is known");
        assert_eq!((tail.count, tail.sum.round()), (4, 60.0));
    }
}
