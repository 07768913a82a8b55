//! What is said to PostgreSQL and MySQL about second factors: one text, in two dialects.
//!
//! Invariant: the parameters of a statement are bound in the order in which they stand in it, each once.

use crate::storage::sql::statement;

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
            of_user: concat!(
                select_factor!($of),
                statement!($dialect: " WHERE folded = " [1] " ORDER BY created, id")
            ),
            by_credential: concat!(select_factor!($of), statement!($dialect: " WHERE digest = " [1])),
            codes: statement!($dialect:
                "SELECT label, phc FROM vestibule_" $of "recovery_codes WHERE folded = " [1] " ORDER BY label"),
            guesses: statement!($dialect:
                "SELECT guesses, last_guess FROM vestibule_" $of "guesses WHERE folded = " [1]),
            reset: statement!($dialect:
                "SELECT user_name, expires, removes_factors FROM vestibule_" $of "resets WHERE digest = " [1]),
            sealed: statement!($dialect: "SELECT user_name, id, sealed FROM vestibule_" $of "factors"),
            add: statement!($dialect:
                "INSERT INTO vestibule_" $of "factors
                 (id, folded, user_name, kind, name, sealed, digest, credential, host, totp_of, last_step,
                  created, last_used) VALUES (" [1] ", " [2] ", " [3] ", " [4] ", " [5] ", " [6] ", " [7] ", " [8]
                ", " [9] ", " [10] ", " [11] ", " [12] ", " [13] ")" (if_free)),
            remove: statement!($dialect:
                "DELETE FROM vestibule_" $of "factors WHERE folded = " [1] " AND id = " [2]),
            remove_totp: statement!($dialect: "DELETE FROM vestibule_" $of "factors WHERE totp_of = " [1]),
            remove_factors: statement!($dialect: "DELETE FROM vestibule_" $of "factors WHERE folded = " [1]),
            take_step: statement!($dialect:
                "UPDATE vestibule_" $of "factors SET last_step = " [1] ", last_used = " [2]
                " WHERE id = " [3] " AND last_step < " [4]),
            reseal: statement!($dialect:
                "UPDATE vestibule_" $of "factors SET sealed = " [1] ", last_used = coalesce(" [2] ", last_used)
                 WHERE id = " [3] " AND sealed = " [4]),
            hold: statement!($dialect:
                "SELECT id FROM vestibule_" $of "factors WHERE folded = " [1] " ORDER BY id FOR UPDATE"),
            add_code: statement!($dialect:
                "INSERT INTO vestibule_" $of "recovery_codes (folded, label, phc)
                 VALUES (" [1] ", " [2] ", " [3] ")"),
            spend_code: statement!($dialect:
                "DELETE FROM vestibule_" $of "recovery_codes
                 WHERE folded = " [1] " AND label = " [2] " AND phc = " [3]),
            remove_codes: statement!($dialect: "DELETE FROM vestibule_" $of "recovery_codes WHERE folded = " [1]),
            first_guess: statement!($dialect:
                "INSERT INTO vestibule_" $of "guesses (folded, guesses, last_guess)
                 VALUES (" [1] ", 1, " [2] ")" (if_free)),
            next_guess: statement!($dialect:
                "UPDATE vestibule_" $of "guesses SET guesses = guesses + 1, last_guess = " [1]
                " WHERE folded = " [2] " AND guesses = " [3]),
            forget_guesses: statement!($dialect: "DELETE FROM vestibule_" $of "guesses WHERE folded = " [1]),
            add_reset: replacing!($dialect: "vestibule_" $of "resets
                 (folded, user_name, digest, expires, removes_factors)
                 VALUES (" [1] ", " [2] ", " [3] ", " [4] ", " [5] ")"),
            spend_reset: statement!($dialect: "DELETE FROM vestibule_" $of "resets WHERE digest = " [1]),
            spend: statement!($dialect:
                "INSERT INTO vestibule_" $of "spent (digest, expires) VALUES (" [1] ", " [2] ")" (if_free)),
            sweep: statement!($dialect: "DELETE FROM vestibule_" $of "spent WHERE expires < " [1]),
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

/// A link in the place of that of the same user, if there is one.
macro_rules! replacing {
    (in_postgres: $($part:tt)+) => {
        statement!(in_postgres: "INSERT INTO " $($part)+
            " ON CONFLICT (folded) DO UPDATE SET user_name = excluded.user_name, digest = excluded.digest,
              expires = excluded.expires, removes_factors = excluded.removes_factors")
    };
    (in_mysql: $($part:tt)+) => {
        statement!(in_mysql: "REPLACE INTO " $($part)+)
    };
}

pub(super) const POSTGRES: Statements = statements!(in_postgres, "");
pub(super) const POSTGRES_DECLARED: Statements = statements!(in_postgres, "declared_");
pub(super) const MYSQL: Statements = statements!(in_mysql, "");
pub(super) const MYSQL_DECLARED: Statements = statements!(in_mysql, "declared_");
