//! What a person does in a real browser, from the first redirect to the last sign-out.
//!
//! Each test is the flow of the same name in `tests/browser/flows.mjs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::harness::browser::Stage;
use crate::harness::command::finish;
use crate::harness::legacy::tests;

macro_rules! flows {
    ($($stage:ident: $($flow:ident)*;)*) => {
        $($(
            #[test]
            fn $flow() {
                Stage::$stage().play("run.mjs", &[stringify!($flow)], &[]);
            }
        )*)*

        const FLOWS: &[&str] = &[$($(stringify!($flow)),*),*];
    };
}

flows! {
    set:
    redirect_to_login_and_back
    login_shows_the_page_with_the_user
    login_by_keyboard_alone
    second_tab_is_signed_in
    another_browser_is_not_signed_in
    logout_ends_the_session_in_every_tab
    back_button_after_logout_shows_nothing
    wrong_password_says_so_and_keeps_the_name
    unknown_user_gets_the_answer_of_a_wrong_password
    expired_session_says_so_on_the_login_page
    remembered_session_survives_a_browser_restart
    other_sessions_end_with_the_browser
    login_and_logout_without_javascript
    form_of_the_application_passes
    form_of_an_expired_session_goes_on_after_the_login
    websocket_from_the_page_is_echoed
    fetch_without_a_session_gets_json
    own_pages_load_without_a_complaint
    another_session_is_ended_on_the_account_page;
    with_room_for_two:
    too_many_sessions_are_chosen_from_without_javascript;
    set:
    fragment_of_the_wanted_page_survives_the_login
    fragment_of_the_wanted_page_survives_a_wrong_password
    fragment_that_looks_like_an_address_leads_nowhere_else
    fragment_survives_for_who_is_signed_in_already
    wanted_page_without_javascript_comes_without_its_fragment;
    with_room_for_two:
    fragment_survives_the_choice_of_sessions_to_end;
    set:
    every_page_is_accessible_and_small_and_leads_on
    every_page_works_without_javascript
    login_page_speaks_six_languages;
    with_room_for_two:
    pages_at_the_limit_are_accessible_and_small_and_lead_on;
}

/// Those that need a program with passkeys.
const PASSKEY_FLOWS: &[&str] = &[
    "pages_of_passkeys_are_accessible_and_small_and_lead_on",
    "passkey_is_made_on_the_way_and_signs_in_without_a_password",
    "passkey_is_the_second_step_after_the_password",
    "passkey_of_another_authenticator_is_refused",
    "login_page_without_javascript_offers_no_passkey",
];

#[cfg(feature = "passkeys")]
mod passkeys {
    use crate::harness::browser::Stage;

    #[test]
    fn each_passkey_flow_is_played() {
        for flow in super::PASSKEY_FLOWS {
            Stage::with_passkeys().play("run.mjs", &[flow], &[]);
        }
    }
}

/// Those that need a program that changes pages; the last one with sessions of an hour.
const NOTICE_FLOWS: &[&str] = &[
    "notice_comes_before_the_end_and_goes_when_somebody_stays",
    "notice_alone_does_not_keep_anybody_signed_in",
    "notice_that_is_answered_in_one_tab_goes_in_all",
    "notice_lets_an_expired_session_begin_again_and_keeps_what_was_typed",
    "notice_says_when_another_tab_signs_out",
    "notice_says_when_somebody_else_signs_in",
    "notice_takes_the_focus_only_from_who_does_not_type",
    "notice_works_under_a_strict_policy_of_the_page",
    "notice_shows_the_nonce_of_a_page_that_has_one",
    "notice_looks_the_same_whatever_the_style_of_the_page",
    "packed_page_of_a_stubborn_application_is_left_alone",
    "pages_with_the_notice_work_without_javascript",
    "notice_offers_a_new_login_before_an_end_that_cannot_be_moved",
];

#[cfg(feature = "html-rewrite")]
mod notice {
    use crate::harness::browser::Stage;

    #[test]
    fn each_flow_of_the_notice_is_played() {
        let (last, others) = super::NOTICE_FLOWS.split_last().expect("flows");
        let stage = Stage::with_notice();
        for flow in others {
            stage.play("run.mjs", &[flow], &[]);
        }
        Stage::with_notice_and_sessions_of_an_hour().play("run.mjs", &[last], &[]);
    }
}

#[test]
fn every_flow_is_played() {
    let listed = finish(Command::new("node").arg(tests().join("browser/run.mjs")), "").stdout;
    let played = [FLOWS, PASSKEY_FLOWS, NOTICE_FLOWS].concat();
    let listed: BTreeSet<&str> = listed.lines().collect();
    assert_eq!(listed, played.into_iter().collect());
}

#[test]
#[ignore = "writes docs/screenshots; tests/README.md says when"]
fn every_page_is_photographed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots");
    let folder = folder.to_str().expect("a path in UTF-8");
    Stage::set().play("screenshots.mjs", &[], &[folder]);
    Stage::with_room_for_two().play("screenshots.mjs", &[], &[folder, "at-limit"]);
    Stage::set().play("screenshots.mjs", &[], &[folder, "languages"]);
    Stage::dressed().play("screenshots.mjs", &[], &[folder, "dressed"]);
    #[cfg(feature = "passkeys")]
    Stage::with_passkeys().play("screenshots.mjs", &[], &[folder, "passkeys"]);
}
