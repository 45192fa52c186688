//! The dockerfile room.
