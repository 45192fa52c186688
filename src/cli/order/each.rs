//! The order for one task a line: the lines read, and how they are gone through.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::args::EachArgs;
use super::super::{Failure, home};
use super::World;
use crate::deploy::{EachWish, Inputs};

/// The longest file of lines, in bytes.
const LIMIT: u64 = 16 << 20;

/// What `run --each` came to.
#[derive(Debug)]
pub struct EachOrder {
    pub inputs: Inputs,
    pub wish: EachWish,
    /// The folder that remembers how far they are.
    pub home: PathBuf,
}

pub(super) fn order(args: &EachArgs, world: &World) -> Result<Option<EachOrder>, Failure> {
    let EachArgs { each: Some(path), parallel, retries, restart } = args else { return Ok(None) };
    let shown = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let text = match path == Path::new("-") {
        true => read(io::stdin().lock()),
        false => File::open(world.cwd.join(path)).and_then(read),
    };
    let text = text.map_err(|error| Failure::usage(format!("--each {shown}: it cannot be read: {error}")))?;
    let inputs = Inputs::parse(&text).map_err(|bad| {
        Failure::usage(format!("--each {shown}: {bad}"))
            .hint("a line is an object of strings, numbers, true and false: {\"YEAR\": 2024, \"FILTER\": \"Town\"}")
    })?;
    let wish = EachWish { parallel: parallel.unwrap_or(10).into(), retries: retries.unwrap_or(2), restart: *restart };
    Ok(Some(EachOrder { inputs, wish, home: home::folder(&world.env)? }))
}

fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    if from.take(LIMIT + 1).read_to_string(&mut text)? as u64 > LIMIT {
        return Err(io::Error::other(format!("it is longer than {LIMIT} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::super::Environment;
    use super::*;

    #[test]
    fn the_lines_are_read_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World { env: Environment::of(&[("HOME", "/h")]), cwd: folder.path().to_owned() };
        let args = EachArgs { each: Some("x.jsonl".into()), parallel: Some(3), ..EachArgs::default() };
        std::fs::write(folder.path().join("x.jsonl"), "{\"A\": 1}\n\n{}\n").expect("written");
        let order = order(&args, &world).expect("right").expect("asked for");
        assert_eq!(order.inputs.count(), 2);
        assert_eq!(order.wish, EachWish { parallel: 3, retries: 2, restart: false });
        std::fs::write(folder.path().join("x.jsonl"), "{}\n{\"A\": [1]}\n").expect("written");
        let failure = super::order(&args, &world).expect_err("nested");
        assert!(failure.message.starts_with("--each x.jsonl: line 2, column 7: invalid type: sequence"), "{failure:?}");
        assert_eq!(failure.exit_code(), 2);
        let missing = EachArgs { each: Some("y.jsonl".into()), ..EachArgs::default() };
        assert!(super::order(&missing, &world).expect_err("missing").message.contains("cannot be read"));
        assert!(super::order(&EachArgs::default(), &world).expect("right").is_none());
    }
}
