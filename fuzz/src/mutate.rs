//! A deterministic mutator: the same seed gives the same inputs, on every machine.

use fastrand::Rng;

/// Numbers at which checks break.
pub(crate) const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    63,
    64,
    127,
    128,
    255,
    256,
    511,
    512,
    513,
    4095,
    4096,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64 - 511,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 4096,
    u64::MAX - 511,
    u64::MAX - 1,
    u64::MAX,
];

/// Bytes of a block of tar.
const BLOCK: usize = 512;

/// Inputs longer than this are cut.
const LONGEST: usize = 256 << 10;

/// Makes inputs of seeds.
#[derive(Debug)]
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// One for these seeds; `words` are put in here and there, whole blocks where a block begins.
    pub fn new(seeds: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "nothing to begin from");
        Self { seeds, words }
    }

    /// The input of a number.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut random = Rng::with_seed(number);
        let mut bytes = self.seeds[random.usize(..self.seeds.len())].clone();
        for _ in 0..=random.u8(0..6) {
            self.change(&mut bytes, &mut random);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>, random: &mut Rng) {
        if bytes.is_empty() {
            bytes.push(random.u8(..));
        }
        let at = random.usize(..bytes.len());
        let rest = bytes.len() - at;
        match random.u8(..12) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes[at] = b"\0\xff\x7f\x80/.\n 09\"$"[random.usize(..12)],
            // A number as formats of bytes have it, in its usual places.
            3 | 4 => {
                let width = 1 << random.usize(1..4);
                let at = at & !(width - 1);
                let number = NUMBERS[random.usize(..NUMBERS.len())].to_le_bytes();
                let take = width.min(bytes.len() - at);
                bytes[at..at + take].copy_from_slice(&number[..take]);
            }
            // A number as text has it.
            5 => {
                let number = NUMBERS[random.usize(..NUMBERS.len())];
                let digits = match random.bool() {
                    true => format!("{number}"),
                    false => format!("{number:o}"),
                };
                let take = rest.min(digits.len());
                bytes[at..at + take].copy_from_slice(&digits.as_bytes()[..take]);
            }
            6 => bytes.truncate(at),
            7 => drop(bytes.drain(at..at + random.usize(..=rest.min(600)))),
            // A part of itself once more, or over another.
            8 => {
                let part = bytes[at..at + random.usize(..=rest.min(2000))].to_vec();
                let to = random.usize(..bytes.len());
                let over = random.bool() as usize * part.len().min(bytes.len() - to);
                bytes.splice(to..to + over, part);
            }
            // A block or a line of another seed, where one begins.
            9 => {
                let other = &self.seeds[random.usize(..self.seeds.len())];
                let from = random.usize(..=other.len()) & !(BLOCK - 1);
                let part = &other[from..other.len().min(from + BLOCK * random.usize(1..5))];
                let to = at & !(BLOCK - 1);
                bytes.splice(to..to, part.iter().copied());
            }
            10 | 11 if !self.words.is_empty() => {
                let word = &self.words[random.usize(..self.words.len())];
                let (at, over) = match (word.len() % BLOCK, random.bool()) {
                    (0, _) => (at & !(BLOCK - 1), 0),
                    (_, true) => (at, word.len().min(rest)),
                    (_, false) => (at, 0),
                };
                bytes.splice(at..at + over, word.iter().copied());
            }
            _ => bytes[at] = bytes[at].wrapping_add(random.u8(1..4)),
        }
    }
}
