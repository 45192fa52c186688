//! The road as its users walk it: the program itself, its stdout, its words and its exit code, and what others read
//! of what it made. It needs the world of `tests/run`.

#[path = "road/cloud.rs"]
mod cloud;
#[path = "sandbox/container.rs"]
mod container;
#[path = "road/image.rs"]
mod image;
#[path = "road/place.rs"]
mod place;
#[path = "road/programs.rs"]
mod programs;

#[path = "road/build.rs"]
mod build;
#[path = "road/bytes.rs"]
mod bytes;
#[path = "road/cache_mounts.rs"]
mod cache_mounts;
#[path = "road/caches.rs"]
mod caches;
#[path = "road/cpu.rs"]
mod cpu;
#[path = "road/diff.rs"]
mod diff;
#[path = "road/down.rs"]
mod down;
#[path = "road/everyday.rs"]
mod everyday;
#[path = "road/explain.rs"]
mod explain;
#[path = "road/local.rs"]
mod local;
#[path = "road/lock.rs"]
mod lock;
#[path = "road/newcomer.rs"]
mod newcomer;
#[path = "road/one_id.rs"]
mod one_id;
#[path = "road/outputs.rs"]
mod outputs;
#[path = "road/packages.rs"]
mod packages;
#[path = "road/plan.rs"]
mod plan;
#[path = "road/replay.rs"]
mod replay;
#[path = "road/rungs.rs"]
mod rungs;
#[path = "road/said.rs"]
mod said;
#[path = "road/schedule.rs"]
mod schedule;
#[path = "road/several.rs"]
mod several;
#[path = "road/stack.rs"]
mod stack;
#[path = "road/stages.rs"]
mod stages;
#[path = "road/terminal.rs"]
mod terminal;
#[path = "road/upkeep.rs"]
mod upkeep;
#[path = "road/verify.rs"]
mod verify;
#[path = "road/words.rs"]
mod words;
