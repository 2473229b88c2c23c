//! Why a track is over.

/// Why a track is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackEnd {
    /// It was played to its end.
    #[error("played to its end")]
    Finished,
    /// The user stopped it, or the call ended.
    #[error("stopped")]
    Stopped,
    /// The source reported an error; what it supplied before was played.
    #[error("{0}")]
    Failed(String),
    /// The source panicked; what it supplied before was played.
    #[error("the source panicked: {0}")]
    Panicked(String),
    /// The source's actor stopped without saying that it was done.
    #[error("the source's actor stopped without a word; a source that is done supplies its end")]
    SourceLost,
    /// The speaker, or its call, panicked and took its tracks with it.
    #[error("the speaker or its call panicked; this is a bug of ours, please report it")]
    SpeakerLost,
}
