//! `--chmod`: octal or symbolic.

use std::fmt;
use std::str::FromStr;

/// A change of mode, checked when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// At most 07777.
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u+rwx`: one actor list, one operator, its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The bits of who: 0o700 for `u`, 0o070 for `g`, 0o007 for `o`.
    who: u32,
    operator: char,
    permissions: String,
}

impl Chmod {
    /// The mode that a file of mode `mode` gets.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }

    /// The mode, where it does not depend on the file's.
    pub fn octal(&self) -> Option<u32> {
        match self {
            Self::Octal(mode) => Some(*mode),
            Self::Symbolic(_) => None,
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = self.permissions.chars().fold(0, |bits, permission| {
            bits | match permission {
                'r' => 0o444 & self.who,
                'w' => 0o222 & self.who,
                'x' => 0o111 & self.who,
                // X: executable where it is a directory or anyone may execute it already.
                'X' if is_directory || mode & 0o111 != 0 => 0o111 & self.who,
                's' => {
                    (if self.who & 0o700 != 0 { 0o4000 } else { 0 }) | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
                }
                't' => 0o1000,
                'u' => spread(mode >> 6 & 7) & self.who,
                'g' => spread(mode >> 3 & 7) & self.who,
                'o' => spread(mode & 7) & self.who,
                _ => 0,
            }
        });
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => {
                let special = (if self.who & 0o700 != 0 { 0o4000 } else { 0 })
                    | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
                    | (if self.who == 0o777 { 0o1000 } else { 0 });
                // As chmod(1): a directory keeps its set-id bits unless they are named.
                let cleared = if is_directory { self.who } else { self.who | special };
                mode & !cleared | bits
            }
        }
    }
}

fn spread(bits: u32) -> u32 {
    bits << 6 | bits << 3 | bits
}

impl FromStr for Chmod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "it is an octal number up to 07777, or symbolic as in `u=rwX,go=rX`";
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Self::Octal(mode)),
                _ => Err(RULE),
            };
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let start = clause.find(['+', '-', '=']).ok_or(RULE)?;
            let mut who = 0;
            for actor in clause[..start].chars() {
                who |= match actor {
                    'u' => 0o700,
                    'g' => 0o070,
                    'o' => 0o007,
                    'a' => 0o777,
                    _ => return Err(RULE),
                };
            }
            let who = if who == 0 { 0o777 } else { who };
            let mut rest = &clause[start..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                let permissions = &rest[1..end];
                if !permissions.chars().all(|p| "rwxXstugo".contains(p)) {
                    return Err(RULE);
                }
                clauses.push(Clause { who, operator, permissions: permissions.to_owned() });
                rest = &rest[end..];
            }
        }
        Ok(Self::Symbolic(clauses))
    }
}

impl fmt::Display for Chmod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octal(mode) => write!(f, "{mode:o}"),
            Self::Symbolic(clauses) => {
                clauses.iter().try_for_each(|c| write!(f, "{:o}{}{},", c.who, c.operator, c.permissions))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, mode, directory, wanted) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("7777", 0, false, 0o7777),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("g=u", 0o640, false, 0o660),
            ("o=", 0o777, false, 0o770),
            ("u+x-w", 0o644, false, 0o544),
            ("+t", 0o777, true, 0o1777),
        ] {
            assert_eq!(text.parse::<Chmod>().unwrap().apply(mode, directory), wanted, "{text} on {mode:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "10000", "u", "z+x", "u+q", "rwx", "77777777777777777"] {
            assert!(text.parse::<Chmod>().is_err(), "{text}");
        }
    }
}
