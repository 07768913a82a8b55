//! How much is kept: which forms make room for newer ones.
//!
//! Pure. Invariant: what is left fits the bounds, whatever there was; nobody's forms push out those of others
//! before they have used up their own share.

use std::collections::HashMap;

use super::form::{FormId, Whose};

/// A form as its bounds see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Which.
    pub(super) id: FormId,
    /// Whose.
    pub(super) whose: Whose,
    /// How large, sealed.
    pub(super) bytes: usize,
}

/// The forms that make room, of all that are there, the newest first.
pub(super) fn surplus(newest_first: impl IntoIterator<Item = Kept>) -> Vec<Kept> {
    let (mut of_each, mut count, mut bytes) = (HashMap::new(), 0, 0);
    let mut is_beyond = |form: &Kept| {
        let own = of_each.entry(form.whose).or_insert(0);
        if *own == PER_USER || count == FORMS || bytes + form.bytes > SPACE {
            return true;
        }
        (*own, count, bytes) = (*own + 1, count + 1, bytes + form.bytes);
        false
    };
    newest_first.into_iter().filter(|form| is_beyond(form)).collect()
}

/// Forms of one user.
pub(super) const PER_USER: usize = 16;
/// Forms of everybody.
const FORMS: usize = 4096;
/// Bytes for the forms of everybody.
const SPACE: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn form(number: usize, whose: u8, bytes: usize) -> Kept {
        let id = FormId::from_bytes(u128::try_from(number).unwrap().to_be_bytes());
        Kept { id, whose: Whose::from_bytes([whose; 16]), bytes }
    }

    #[test]
    fn the_oldest_of_a_user_make_room_and_those_of_others_stay() {
        let mine = (0..PER_USER + 3).map(|number| form(number, 1, 10));
        let others = (100..110).map(|number| form(number, 2, 10));
        let all: Vec<Kept> = mine.chain(others).collect();
        assert_eq!(surplus(all.clone()), all[PER_USER..PER_USER + 3]);
    }

    #[test]
    fn the_oldest_of_all_make_room_when_there_are_too_many_or_they_are_too_large() {
        let users = |number: usize| u8::try_from(number % 255).unwrap();
        let many = (0..FORMS + 2).map(|number| {
            let whose = u128::try_from(number / PER_USER).unwrap().to_be_bytes();
            Kept { whose: Whose::from_bytes(whose), ..form(number, 0, 1) }
        });
        let many: Vec<Kept> = many.collect();
        assert_eq!(surplus(many.clone()), many[FORMS..]);
        let large: Vec<Kept> = (0..6).map(|number| form(number, users(number), SPACE / 4)).collect();
        assert_eq!(surplus(large.clone()), large[4..]);
    }

    #[test]
    fn a_small_form_finds_a_place_beside_large_ones() {
        let forms = [form(1, 1, SPACE - 10), form(2, 2, 100), form(3, 3, 10)];
        assert_eq!(surplus(forms), [forms[1]]);
        assert_eq!(surplus([]), []);
    }
}
