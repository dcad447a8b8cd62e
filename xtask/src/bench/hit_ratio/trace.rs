//! Requests as a pull-through cache sees them, made up: sizes and popularity as published of a production registry.

/// A request for all of a blob.
#[derive(Clone, Copy)]
pub struct Request {
    /// Which blob.
    pub blob: u32,
    /// Its size in bytes.
    pub size: u64,
}

/// What happens besides the steady demand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What the table says.
    pub name: &'static str,
    /// New blobs come, and the old are forgotten: over the trace, all of the most popular ones.
    pub drifts: bool,
    /// Three times, somebody reads through a whole registry that nobody asks for again.
    pub scans: bool,
}

/// What is simulated.
pub const KINDS: [Kind; 4] = [
    Kind { name: "steady", drifts: false, scans: false },
    Kind { name: "drift", drifts: true, scans: false },
    Kind { name: "scans", drifts: false, scans: true },
    Kind { name: "drift and scans", drifts: true, scans: true },
];

/// Numbers that look random, and are the same each time (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// 66 % are under 1 MB, 80 % under 10 MB, and those over carry 95 % of the bytes.
pub fn size_of(blob: u32) -> u64 {
    let mut random = Random(u64::from(blob) << 20 | 7);
    let (low, high) = match random.unit() {
        part if part < 0.66 => (1e3, 1e6),
        part if part < 0.80 => (1e6, 1e7),
        _ => (1e7, 1.95e8),
    };
    let (low, high): (f64, f64) = (low, high);
    (low * (high / low).powf(random.unit())) as u64
}

/// Of the ranks, the first tenth takes half: `x^-0.7`.
fn rank(random: &mut Random, ranks: u32) -> u32 {
    let tenth_takes_half = 1.0 / (0.5f64.ln() / 0.1f64.ln());
    ((f64::from(ranks) * random.unit().powf(tenth_takes_half)) as u32).min(ranks - 1)
}

/// A trace of `count` requests of clients for `blobs` blobs; scans come on top.
pub fn generate(kind: Kind, blobs: u32, count: usize, seed: u64) -> Vec<Request> {
    let mut random = Random(seed);
    // Which blob has a rank, in no order of size.
    let mut of_rank: Vec<u32> = (0..blobs).collect();
    for at in (1..of_rank.len()).rev() {
        let other = random.next() as usize % (at + 1);
        of_rank.swap(at, other);
    }
    let mut next_blob = blobs;
    let mut requests = Vec::new();
    let request = |blob| Request { blob, size: size_of(blob) };
    let scan_length = blobs / 2;
    for number in 0..count {
        // Popularity moves by one rank now and then: half of what is popular is not after a half of the trace.
        if kind.drifts && number.is_multiple_of((count / blobs as usize).max(1) * 2) {
            let at = rank(&mut random, blobs) as usize;
            of_rank[at] = next_blob;
            next_blob += 1;
        }
        requests.push(request(of_rank[rank(&mut random, blobs) as usize]));
        // A scan takes a twelfth of the trace, between other requests.
        let (part, within) = (number * 12 / count, number * 12 % count);
        if kind.scans && part % 4 == 2 {
            let before = within as u64 * u64::from(scan_length) / count as u64;
            let after = (within as u64 + 12) * u64::from(scan_length) / count as u64;
            for _ in before..after {
                requests.push(request(next_blob));
                next_blob += 1;
            }
        }
    }
    requests
}

/// How many bytes all blobs of a trace have.
pub fn unique_bytes(trace: &[Request]) -> u64 {
    let mut seen = std::collections::HashSet::new();
    trace.iter().filter(|request| seen.insert(request.blob)).map(|request| request.size).sum()
}
