//! From errors to codes: one table for each dialect, and nowhere else.

pub mod layotto;

/// The building block an error came from; dialects answer the same kind differently for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    State,
    Secrets,
    Configuration,
    Lock,
    Sequencer,
    Hello,
    Lifecycle,
    File,
    PubSub,
    Invoke,
    Binding,
}

impl Block {
    /// Every block, for the tests of the tables.
    #[cfg(test)]
    const ALL: [Self; 11] = [
        Self::State,
        Self::Secrets,
        Self::Configuration,
        Self::Lock,
        Self::Sequencer,
        Self::Hello,
        Self::Lifecycle,
        Self::File,
        Self::PubSub,
        Self::Invoke,
        Self::Binding,
    ];
}
