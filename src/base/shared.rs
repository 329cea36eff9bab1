//! State that several workers use.

use parking_lot::Mutex;

/// State behind a lock that cannot be held across an await: there is no guard to hold.
///
/// The closure must be short; nothing in it may block, log or wait.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        use_it(&mut self.0.lock())
    }
}
