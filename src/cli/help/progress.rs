//! The screens, and the events that a program reads.

use super::table;
use crate::cli::screen::EVENTS;

const WAYS: &[(&str, &str)] = &[
    ("auto", "tty on a terminal that is no CI's, else plain"),
    ("tty", "what goes on below what is done: steps with the last lines of each RUN (-v: all lines), transfers"),
    ("plain", "a line for each thing that happens"),
    ("json", "the same for programs: an object a line, on stderr"),
    ("quiet", "nothing but errors"),
];

pub(super) fn page() -> String {
    format!(
        "--progress HOW, on stderr; the answer alone is on stdout:\n{}\n\
         Each line of --progress json is an object with \"v\": 1 and \"event\". A field that goes, or comes to mean something\n\
         else, makes v the next number; one that is added does not. The events, and their fields:\n{}\n\
         A layer is {{ digest, bytes, unpacked }}: unpacked may be null, as may stop_code, exit_code and hint. A direction is\n\
         pull or push. In a line, bytes that are no UTF-8 are replaced. The last words of a command that failed are not an\n\
         event: with --json they are the answer, {{ \"error\": … }}.\n",
        table(WAYS),
        table(EVENTS)
    )
}
