//! One case: what lies in the folder, and what the build makes of it.
//!
//! ```text
//! === what it proves
//! -- Dockerfile --                a file; its mode may stand behind the name: `-- bin/x 755 --`
//! -- l -> target --               a symlink
//! -- d/ --                        a folder
//! -- g = f --                     another name of a file
//! -- p fifo --                    a named pipe
//! -- a.tar base64 --              bytes that are not text
//! -- args --                      further arguments of `build`
//! -- => --                        every path of the result: mode, owner, content
//! -- config --                    env, workdir, onbuild, further keys as JSON; `did` for each line of the history
//! -- error --                     words of the failure, instead of a result
//! -- fails --                     all that is said of the failure, from `error: ` on
//! ```

use super::folder::Folder;

pub struct Case {
    pub name: String,
    parts: Vec<(String, String)>,
}

impl Case {
    pub fn all_in(text: &str) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("=== ") {
                cases.push(Self { name: name.to_owned(), parts: Vec::new() });
                continue;
            }
            let Some(case) = cases.last_mut() else { continue };
            match line.strip_prefix("-- ").and_then(|line| line.strip_suffix(" --")) {
                Some(head) => case.parts.push((head.to_owned(), String::new())),
                None => {
                    if let Some((_, body)) = case.parts.last_mut() {
                        body.push_str(line);
                        body.push('\n');
                    }
                }
            }
        }
        cases
    }

    /// Builds it in a folder of its own; the error is what differs.
    pub fn check(&self) -> Result<(), String> {
        let folder = Folder::new();
        for (head, body) in &self.parts {
            if !matches!(head.as_str(), "args" | "=>" | "config" | "error" | "fails") {
                folder.put(head, body);
            }
        }
        let args = self.part("args").unwrap_or_default();
        let args: Vec<&str> = args.split_whitespace().collect();
        let built = folder.build(&args);
        if let Some(wanted) = self.part("fails") {
            return match built {
                Ok(_) => Err(format!("it builds, and should say:\n{wanted}")),
                Err(said) => same(wanted, said.find("error: ").map_or("", |at| &said[at..])),
            };
        }
        match (self.part("error"), built) {
            (Some(words), Ok(_)) => Err(format!("it builds, and should say: {words}")),
            (Some(words), Err(said)) => {
                let missing: Vec<&str> = words.lines().filter(|line| !said.contains(line)).collect();
                if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} is not in\n{said}")) }
            }
            (None, Err(said)) => Err(said),
            (None, Ok(built)) => {
                if let Some(wanted) = self.part("=>") {
                    same(wanted, &built.files())?;
                }
                self.part("config").map_or(Ok(()), |wanted| same(wanted, &built.config()))
            }
        }
    }

    fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(head, _)| head == name).map(|(_, body)| body.trim_end_matches('\n'))
    }
}

fn same(wanted: &str, got: &str) -> Result<(), String> {
    let (wanted, got) = (wanted.trim_end(), got.trim_end());
    if wanted == got { Ok(()) } else { Err(format!("wanted:\n{wanted}\ngot:\n{got}")) }
}
