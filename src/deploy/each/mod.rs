//! One task for each line of a file: started, followed, tried again where it failed, and remembered, so that a run that
//! is cut off goes on where it was and no task is started twice.
//!
//! ```text
//! text ─▶ Inputs ─▶ Ledger ─▶ a turn ─▶ RunTask, its end ─▶ Ledger ─▶ … ─▶ what became of each line
//!                     ⇅ on disk before and after each step
//! ```

mod drive;
mod input;
mod ledger;
mod mark;

pub use drive::{EachWish, Ended, Lines, each};
pub use input::{BadInput, Inputs};
pub use ledger::{BadLedger, Line, Stage};
