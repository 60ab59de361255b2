//! Everything that reads bytes of others, fed with changed pieces of what real servers sent.
//!
//! Whatever the bytes: no panic, no memory beyond a few times their length, and nothing accepted that does not mean
//! itself: what was decoded, encoded and decoded again is the same.
//!
//! A failure prints `TAILWATER_FUZZ=target:seed`, with which the same input comes again. `TAILWATER_FUZZ_SECONDS` says how
//! long each target is fed.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../sim/chance.rs"]
mod chance;
mod events;
mod mutate;
mod settings;
mod values;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use chance::Chance;
use mutate::mutate;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a target may take for a byte of input, and beside; others run at the same time.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY_BESIDE: usize = 8 << 20;

/// Says what is wrong.
type Check = Box<dyn FnMut(&[u8]) -> Result<(), String>>;

/// One reader of foreign bytes.
struct Target {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    /// Whether the input is text.
    text: bool,
    check: Check,
}

impl Target {
    fn new(
        name: &'static str,
        corpus: Vec<Vec<u8>>,
        text: bool,
        check: impl FnMut(&[u8]) -> Result<(), String> + 'static,
    ) -> Target {
        assert!(!corpus.is_empty(), "{name} has a corpus");
        Target { name, corpus, text, check: Box::new(check) }
    }

    fn seconds() -> f64 {
        std::env::var("TAILWATER_FUZZ_SECONDS").map_or(1.0, |text| text.parse().expect("seconds are a number"))
    }

    /// Feeds it until the time is over, or with one input again.
    fn feed(mut self) {
        for (at, input) in self.corpus.clone().iter().enumerate() {
            self.one(input).unwrap_or_else(|what| panic!("{}: entry {at} of the corpus: {what}", self.name));
        }
        if let Ok(chosen) = std::env::var("TAILWATER_FUZZ") {
            let (name, seed) = chosen.split_once(':').expect("TAILWATER_FUZZ is target:seed");
            if name == self.name {
                self.again(seed.parse().expect("a seed is a number"));
            }
            return;
        }
        let (began, limit) = (Instant::now(), Duration::from_secs_f64(Target::seconds()));
        let first = if limit > Duration::from_secs(2) { fresh() } else { 0 };
        let mut seed = first;
        while began.elapsed() < limit {
            seed += 1;
            let input = mutate(&self.corpus, self.text, &mut Chance::new(seed));
            if let Err(what) = self.one(&input) {
                panic!("TAILWATER_FUZZ={}:{seed}: {what}", self.name);
            }
        }
        println!("{}: {} inputs", self.name, seed - first);
    }

    fn again(&mut self, seed: u64) {
        let input = mutate(&self.corpus, self.text, &mut Chance::new(seed));
        println!("{} bytes: {:?}", input.len(), String::from_utf8_lossy(&input));
        self.one(&input).unwrap_or_else(|what| panic!("{}:{seed}: {what}", self.name));
    }

    fn one(&mut self, input: &[u8]) -> Result<(), String> {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.check)(input)));
        let taken = MEMORY.peak_usage().saturating_sub(before);
        outcome.unwrap_or_else(|_| Err("it panics".to_owned()))?;
        match taken > MEMORY_BESIDE + MEMORY_PER_BYTE * input.len() {
            true => Err(format!("{taken} bytes of memory for {} of input", input.len())),
            false => Ok(()),
        }
    }
}

/// Long runs are different each time.
fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    (since.as_micros() as u64) << 20
}

/// Whether two things that should be the same are.
fn same<T: PartialEq + std::fmt::Debug>(first: &T, second: &T) -> Result<(), String> {
    if first == second { Ok(()) } else { Err(format!("{first:?} comes back as {second:?}")) }
}

macro_rules! targets {
    ($($room:ident: $($name:ident)+;)+) => {
        $($(
            #[test]
            fn $name() {
                $room::$name().feed();
            }
        )+)+
    };
}

targets! {
    wire: frame status message assembled row copy_text;
    values: numbers moments intervals numerics bytes arrays rare copy_binary;
    events: json avro protobuf held headers tables markers;
    settings: configuration names;
}
