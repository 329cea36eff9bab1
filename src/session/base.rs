//! What a server has before any client sets something on it: what `connect_query` has left there.
//!
//! A `RESET` goes past that, to what the login had. So the server is asked once what it has behind its
//! `connect_query`, and what only a client has set is set back to that.

use super::inquiry::{Found, Inquiry};
use super::settings::Settings;
use super::text::Text;
use crate::sql::hidden::{Hidden, is_opaque};

/// See the module. Without a `connect_query`, nothing.
#[derive(Debug, Default)]
pub struct Base {
    settings: Settings,
    hides: Hides,
}

/// What may be there that no question shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Hides {
    #[default]
    Nothing,
    /// Settings that Postgres does not list, of names that the text does not tell.
    Custom,
    Anything,
}

impl Base {
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether there may be something that nobody can ask for: a `RESET` may have taken it away.
    pub fn is_hidden(&self) -> bool {
        self.hides != Hides::Nothing
    }

    /// Whether nobody can say what is below some of these: to undo them, `connect_query` must run again.
    pub fn is_hidden_below(&self, applied: &Settings) -> bool {
        let is_unknown = |name: &str| name.contains('.') && self.settings.value(name).is_none();
        match self.hides {
            Hides::Nothing => false,
            Hides::Custom => applied.iter().any(|(name, _)| is_unknown(name)),
            Hides::Anything => !applied.is_empty(),
        }
    }
}

/// A server is being asked.
#[derive(Debug)]
pub struct Asking {
    inquiry: Inquiry,
    hides: Hides,
}

impl Asking {
    /// With the text of the question.
    pub fn behind(connect_query: &str) -> (Self, String) {
        let text = Text::read_on(connect_query.as_bytes(), &[]).unwrap_or_default();
        let Hidden { names, others, .. } = text.hidden;
        let is_custom = others || is_opaque(connect_query.as_bytes());
        let hides = if is_custom { Hides::Custom } else { Hides::Nothing };
        let mut inquiry = Inquiry::default();
        let asks = Hidden { settings: true, names, ..Hidden::default() };
        let question = inquiry.ask(&asks, std::iter::empty());
        (Self { inquiry, hides }, question)
    }

    pub fn row(&mut self, body: &[u8]) {
        self.inquiry.row(body);
    }

    /// `user`: whom it was logged in as.
    pub fn answered(mut self, user: &str) -> Base {
        let Some(Found { settings: Some(mut settings), kept, .. }) = self.inquiry.answered() else {
            return Base { settings: Settings::default(), hides: Hides::Anything };
        };
        if settings.value("session_authorization") == Some(user) {
            settings.remove("session_authorization");
        }
        Base { settings, hides: if kept.settings { Hides::Anything } else { self.hides } }
    }

    /// Postgres does not answer that.
    pub fn failed(mut self) -> Base {
        self.inquiry.failed();
        Base { settings: Settings::default(), hides: Hides::Anything }
    }
}

#[cfg(test)]
mod tests {
    use super::{Asking, Base};
    use crate::session::settings::Settings;
    use std::fmt::Write as _;

    fn base(connect_query: &str, rows: &[(&str, &str)]) -> Base {
        let (mut asking, _) = Asking::behind(connect_query);
        for (name, value) in rows {
            let mut hex = String::new();
            for byte in value.bytes() {
                write!(hex, "{byte:02x}").unwrap();
            }
            let mut body = vec![0, 2];
            for column in [*name, hex.as_str()] {
                body.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
                body.extend(column.as_bytes());
            }
            asking.row(&body);
        }
        asking.answered("app")
    }

    fn of(names: &[&str]) -> Settings {
        let mut settings = Settings::default();
        for name in names {
            settings.set(name, "1");
        }
        settings
    }

    #[test]
    fn what_a_connect_query_names_is_asked_for_and_known() {
        let text = "set role to red; set app.one = 'a'; select set_config('app.two', 'b', false)";
        let (_, question) = Asking::behind(text);
        assert!(question.contains("'app.one'") && question.contains("'app.two'"), "{question}");
        let rows = [("role", "red"), ("app.one", "a"), ("session_authorization", "app")];
        let base = base(text, &rows);
        let found: Vec<_> = base.settings().iter().collect();
        assert_eq!(found, [("app.one", "a"), ("role", "red")]);
        assert!(!base.is_hidden_below(&of(&["work_mem", "app.three"])));
    }

    #[test]
    fn what_a_function_may_have_set_is_below_what_a_client_sets() {
        for text in ["select init()", "do $$ begin end $$", "select set_config(x, 'y', false)"] {
            let base = base(text, &[("app.one", "a")]);
            assert!(!base.is_hidden_below(&of(&["work_mem", "app.one"])), "{text}");
            assert!(base.is_hidden_below(&of(&["app.two"])), "{text}");
        }
        let unknown = Asking::behind("select 1").0.failed();
        assert!(unknown.is_hidden_below(&of(&["work_mem"])) && !unknown.is_hidden_below(&of(&[])));
    }
}
