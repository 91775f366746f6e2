//! What `worker` processes and the test that started them agree upon: names and contents.

/// Directories that tokens and links move between: of a lower, merged, and new.
pub const DIRECTORIES: [&str; 3] = ["lower", "merged", "new"];

/// Places for tokens.
pub const SLOTS: usize = 24;

/// The path of a place.
pub fn slot(number: usize) -> String {
    format!(
        "{}/slot-{}",
        DIRECTORIES[number % DIRECTORIES.len()],
        number / DIRECTORIES.len()
    )
}

/// Bytes of the file that is replaced.
pub const BLOCK: usize = 10_000;

/// Whether it is one version of it: one byte, all over.
pub fn block_is_whole(text: &[u8]) -> bool {
    text.len() == BLOCK && text.iter().all(|byte| *byte == text[0])
}

/// The first bytes of a large file, which workers write: one each.
pub const WRITTEN: usize = 16;

/// What a large file has in its layer.
pub fn pattern(number: usize) -> Vec<u8> {
    (0..1 << 20)
        .map(|i: usize| (i / 512 + i % 13 + number) as u8)
        .collect()
}
