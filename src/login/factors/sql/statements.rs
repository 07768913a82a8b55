//! What is said to PostgreSQL and MySQL about second factors: one text, in two dialects.
//!
//! Invariant: the parameters of a statement are bound in the order in which they stand in it, each once, so
//! that it does not matter whether they have numbers.

/// What is said to a database.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) of_user: &'static str,
    pub(super) codes: &'static str,
    pub(super) guesses: &'static str,
    pub(super) by_credential: &'static str,
    pub(super) reset: &'static str,
    pub(super) sealed: &'static str,
    pub(super) add: &'static str,
    pub(super) remove: &'static str,
    pub(super) remove_totp: &'static str,
    pub(super) remove_factors: &'static str,
    pub(super) take_step: &'static str,
    pub(super) reseal: &'static str,
    pub(super) hold: &'static str,
    pub(super) add_code: &'static str,
    pub(super) spend_code: &'static str,
    pub(super) remove_codes: &'static str,
    pub(super) first_guess: &'static str,
    pub(super) next_guess: &'static str,
    pub(super) forget_guesses: &'static str,
    pub(super) add_reset: &'static str,
    pub(super) spend_reset: &'static str,
    pub(super) spend: &'static str,
    pub(super) sweep: &'static str,
}

/// The statements in a dialect; `$of` stands in the names of the tables.
macro_rules! statements {
    ($dialect:ident, $of:literal) => {
        Statements {
            of_user: concat!(select_factor!($of), " WHERE folded = ", $dialect!(1), " ORDER BY created, id"),
            codes: concat!(
                "SELECT label, phc FROM vestibule_",
                $of,
                "recovery_codes WHERE folded = ",
                $dialect!(1),
                " ORDER BY label"
            ),
            guesses: concat!(
                "SELECT guesses, last_guess FROM vestibule_",
                $of,
                "guesses WHERE folded = ",
                $dialect!(1)
            ),
            by_credential: concat!(select_factor!($of), " WHERE digest = ", $dialect!(1)),
            reset: concat!(
                "SELECT user_name, expires, removes_factors FROM vestibule_",
                $of,
                "resets WHERE digest = ",
                $dialect!(1)
            ),
            sealed: concat!("SELECT user_name, id, sealed FROM vestibule_", $of, "factors"),
            add: concat!(
                "INSERT INTO vestibule_",
                $of,
                "factors
                 (id, folded, user_name, kind, name, sealed, digest, credential, host, totp_of, last_step,
                  created, last_used) VALUES (",
                $dialect!(1),
                ", ",
                $dialect!(2),
                ", ",
                $dialect!(3),
                ", ",
                $dialect!(4),
                ", ",
                $dialect!(5),
                ", ",
                $dialect!(6),
                ", ",
                $dialect!(7),
                ", ",
                $dialect!(8),
                ", ",
                $dialect!(9),
                ", ",
                $dialect!(10),
                ", ",
                $dialect!(11),
                ", ",
                $dialect!(12),
                ", ",
                $dialect!(13),
                ")",
                $dialect!(if_free)
            ),
            remove: concat!(
                "DELETE FROM vestibule_",
                $of,
                "factors WHERE folded = ",
                $dialect!(1),
                " AND id = ",
                $dialect!(2)
            ),
            remove_totp: concat!("DELETE FROM vestibule_", $of, "factors WHERE totp_of = ", $dialect!(1)),
            remove_factors: concat!("DELETE FROM vestibule_", $of, "factors WHERE folded = ", $dialect!(1)),
            take_step: concat!(
                "UPDATE vestibule_",
                $of,
                "factors SET last_step = ",
                $dialect!(1),
                ", last_used = ",
                $dialect!(2),
                " WHERE id = ",
                $dialect!(3),
                " AND last_step < ",
                $dialect!(4)
            ),
            reseal: concat!(
                "UPDATE vestibule_",
                $of,
                "factors SET sealed = ",
                $dialect!(1),
                ", last_used = coalesce(",
                $dialect!(2),
                ", last_used) WHERE id = ",
                $dialect!(3),
                " AND sealed = ",
                $dialect!(4)
            ),
            hold: concat!(
                "SELECT id FROM vestibule_",
                $of,
                "factors WHERE folded = ",
                $dialect!(1),
                " ORDER BY id FOR UPDATE"
            ),
            add_code: concat!(
                "INSERT INTO vestibule_",
                $of,
                "recovery_codes (folded, label, phc) VALUES (",
                $dialect!(1),
                ", ",
                $dialect!(2),
                ", ",
                $dialect!(3),
                ")"
            ),
            spend_code: concat!(
                "DELETE FROM vestibule_",
                $of,
                "recovery_codes WHERE folded = ",
                $dialect!(1),
                " AND label = ",
                $dialect!(2),
                " AND phc = ",
                $dialect!(3)
            ),
            remove_codes: concat!(
                "DELETE FROM vestibule_",
                $of,
                "recovery_codes WHERE folded = ",
                $dialect!(1)
            ),
            first_guess: concat!(
                "INSERT INTO vestibule_",
                $of,
                "guesses (folded, guesses, last_guess) VALUES (",
                $dialect!(1),
                ", 1, ",
                $dialect!(2),
                ")",
                $dialect!(if_free)
            ),
            next_guess: concat!(
                "UPDATE vestibule_",
                $of,
                "guesses SET guesses = guesses + 1, last_guess = ",
                $dialect!(1),
                " WHERE folded = ",
                $dialect!(2),
                " AND guesses = ",
                $dialect!(3)
            ),
            forget_guesses: concat!("DELETE FROM vestibule_", $of, "guesses WHERE folded = ", $dialect!(1)),
            add_reset: concat!(
                $dialect!(replace),
                " vestibule_",
                $of,
                "resets
                 (folded, user_name, digest, expires, removes_factors) VALUES (",
                $dialect!(1),
                ", ",
                $dialect!(2),
                ", ",
                $dialect!(3),
                ", ",
                $dialect!(4),
                ", ",
                $dialect!(5),
                ")",
                $dialect!(replaced)
            ),
            spend_reset: concat!("DELETE FROM vestibule_", $of, "resets WHERE digest = ", $dialect!(1)),
            spend: concat!(
                "INSERT INTO vestibule_",
                $of,
                "spent (digest, expires) VALUES (",
                $dialect!(1),
                ", ",
                $dialect!(2),
                ")",
                $dialect!(if_free)
            ),
            sweep: concat!("DELETE FROM vestibule_", $of, "spent WHERE expires < ", $dialect!(1)),
        }
    };
}

/// The columns of a factor in their order.
macro_rules! select_factor {
    ($of:literal) => {
        concat!(
            "SELECT user_name, id, kind, name, sealed, credential, host, last_step, created, last_used
             FROM vestibule_",
            $of,
            "factors"
        )
    };
}

macro_rules! postgres {
    ($number:literal) => {
        concat!("$", $number)
    };
    (if_free) => {
        " ON CONFLICT DO NOTHING"
    };
    (replace) => {
        "INSERT INTO"
    };
    (replaced) => {
        " ON CONFLICT (folded) DO UPDATE SET user_name = excluded.user_name, digest = excluded.digest,
          expires = excluded.expires, removes_factors = excluded.removes_factors"
    };
}

/// There an insertion that finds its place taken is an error of its own.
macro_rules! mysql {
    ($number:literal) => {
        "?"
    };
    (if_free) => {
        ""
    };
    (replace) => {
        "REPLACE INTO"
    };
    (replaced) => {
        ""
    };
}

pub(super) const POSTGRES: Statements = statements!(postgres, "");
pub(super) const POSTGRES_DECLARED: Statements = statements!(postgres, "declared_");
pub(super) const MYSQL: Statements = statements!(mysql, "");
pub(super) const MYSQL_DECLARED: Statements = statements!(mysql, "declared_");
