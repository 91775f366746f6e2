//! A few threads for work that waits: for a disk, or for much data to be copied.
//!
//! The thread of a ring has a core's requests to answer and must not wait; what would make it wait it
//! gives away here, entry and all, and gets back to be committed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; dropping it waits for what they have begun.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads.
    pub(super) fn new(threads: usize) -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut pool = Self {
            jobs: Some(jobs),
            threads: Vec::with_capacity(threads),
        };
        for number in 0..threads {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new()
                .name(format!("pool-{number}"))
                .spawn(move || work(&waiting))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Hands a job to the next free thread. With no thread left the job is done at once.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let Some(jobs) = &self.jobs else { return job() };
        if let Err(SendError(job)) = jobs.send(Box::new(job)) {
            job();
        }
    }
}

/// Does jobs until there will be none any more.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        // One waits in `recv`, the others for the lock.
        let job = waiting.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            // A panic has been printed; there is nothing of the thread's to use.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_before_the_pool_is_gone() {
        let done = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new(3).expect("threads");
        for _ in 0..100 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn jobs_that_wait_do_not_hold_up_the_others() {
        let pool = Pool::new(2).expect("threads");
        let (first, wait) = channel::<()>();
        let (tell, told) = channel();
        pool.run(move || {
            let _ = wait.recv();
        });
        pool.run(move || {
            let _ = tell.send(());
        });
        assert!(
            told.recv_timeout(std::time::Duration::from_secs(10))
                .is_ok()
        );
        drop(first);
    }
}
