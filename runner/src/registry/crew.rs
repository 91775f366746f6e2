//! Several layers at once.

use super::RegistryError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many layers are on their way at once, as docker has it.
const HANDS: usize = 3;

/// Does something for each of `count` things, three at a time, and gives the results in order. After
/// the first failure nothing new is begun, and `stop` tells those that are at work.
pub(super) fn each<T: Send>(
    count: usize,
    stop: &AtomicBool,
    act: impl Fn(usize) -> Result<T, RegistryError> + Sync,
) -> Result<Vec<T>, RegistryError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::new(), None));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            let result = act(at);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(value) => done.0.push((at, value)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    // The first is the cause; what others say is that they were stopped.
                    done.1.get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..HANDS.min(count) {
            scope.spawn(work);
        }
    });
    let (mut values, error) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    match error {
        Some(error) => Err(error),
        None => {
            values.sort_by_key(|(at, _)| *at);
            Ok(values.into_iter().map(|(_, value)| value).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_stopped_by_the_first_error() {
        let stop = AtomicBool::new(false);
        let all = each(10, &stop, |at| Ok(at * 2)).unwrap();
        assert_eq!(all, (0..10).map(|at| at * 2).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let failed = each(1000, &stop, |at| {
            begun.fetch_add(1, Ordering::Relaxed);
            if at >= 3 {
                Err(super::super::files::wrong("x".as_ref(), at.to_string()))
            } else {
                Ok(at)
            }
        });
        assert!(failed.is_err() && begun.load(Ordering::Relaxed) < 1000);
    }
}
