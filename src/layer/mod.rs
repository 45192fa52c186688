//! The layer room.
