//! Runs the graph: contexts, COPY and ADD, RUN. Where images come from and go to is behind [`Source`] and [`Sink`].

mod place;

pub use place::{BaseImage, FetchError, Later, Sink, Source};
