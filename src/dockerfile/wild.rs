//! One matcher for all wildcards of the language. It keeps the set of places in the pattern that the text
//! read so far can have led to, so its work is text times pattern, whatever the pattern.

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(char),
    /// Any one character but this.
    One {
        except: char,
    },
    /// Any number of characters, but not this one.
    Run {
        except: Option<char>,
    },
    Class(Class),
    /// The next so many pieces may be left out.
    Optional(usize),
}

/// `[a-z]`, `[^a-z]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub negated: bool,
    pub ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wild(Vec<Piece>);

/// A match under way.
pub(super) struct Walk<'a> {
    pieces: &'a [Piece],
    /// `at[i]`: pieces before `i` have matched what was read; the last place is acceptance.
    at: Vec<bool>,
    next: Vec<bool>,
}

impl Wild {
    pub fn new(pieces: Vec<Piece>) -> Self {
        Self(pieces)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn walk(&self) -> Walk<'_> {
        let mut at = vec![false; self.0.len() + 1];
        at[0] = true;
        let mut walk = Walk { pieces: &self.0, next: vec![false; at.len()], at };
        walk.skip_ahead();
        walk
    }

    pub fn matches(&self, text: &str) -> bool {
        let mut walk = self.walk();
        text.chars().for_each(|c| walk.step(c));
        walk.accepts()
    }
}

impl Walk<'_> {
    pub fn step(&mut self, c: char) {
        self.next.fill(false);
        for (index, piece) in self.pieces.iter().enumerate().filter(|(index, _)| self.at[*index]) {
            match piece {
                Piece::Literal(literal) => self.next[index + 1] |= *literal == c,
                Piece::One { except } => self.next[index + 1] |= *except != c,
                Piece::Class(class) => self.next[index + 1] |= class.contains(c),
                Piece::Run { except } => self.next[index] |= *except != Some(c),
                Piece::Optional(_) => {}
            }
        }
        std::mem::swap(&mut self.at, &mut self.next);
        self.skip_ahead();
    }

    /// All that was read is matched by the whole pattern.
    pub fn accepts(&self) -> bool {
        self.at[self.pieces.len()]
    }

    /// No further character can lead to a match.
    pub fn is_dead(&self) -> bool {
        !self.at.contains(&true)
    }

    /// Whether some further characters, at least one, can lead to a match.
    pub fn can_go_on(&self) -> bool {
        self.at[..self.pieces.len()].contains(&true)
    }

    /// Pieces that need no character lead further at once; always forwards, so one pass is enough.
    fn skip_ahead(&mut self) {
        for (index, piece) in self.pieces.iter().enumerate() {
            if !self.at[index] {
                continue;
            }
            match piece {
                Piece::Run { .. } => self.at[index + 1] = true,
                Piece::Optional(count) => {
                    self.at[index + 1] = true;
                    self.at[index + 1 + count] = true;
                }
                Piece::Literal(_) | Piece::One { .. } | Piece::Class(_) => {}
            }
        }
    }
}

impl Class {
    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}
