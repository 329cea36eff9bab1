//! The proxy's console, to see what shows nowhere else: who waits, and what was counted.

use std::collections::BTreeMap;

use super::frames::{Batch, shown};
use super::login::Login;
use super::proxy::Rig;
use super::settings::Settings;
use super::time::eventually;
use super::wire::Client;

pub(crate) struct Console(Client);

/// What a console needs, beside `auth_type = "trust"`.
pub(crate) fn with_console(settings: Settings) -> Settings {
    settings.set("admin_users", "app")
}

impl Console {
    pub(crate) async fn open(rig: &Rig) -> Self {
        Self(Login::to(rig.address()).database("pgweir").connect().await)
    }

    /// A row of an answer, by the names of its columns. `None`: in none is this the first value.
    pub(crate) async fn row(
        &mut self,
        command: &str,
        first: &str,
    ) -> Option<BTreeMap<String, String>> {
        let frames = self.0.ask_frames(Batch::new().query(command)).await;
        assert_eq!(frames[0].tag, b'T', "{:?}", shown(&frames));
        let columns = frames[0].described();
        let text = |value: Option<Vec<u8>>| {
            String::from_utf8(value.unwrap_or_default()).expect("the console sends text")
        };
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        let mut rows = rows.map(|row| row.columns().into_iter().map(text).collect::<Vec<_>>());
        let row = rows.find(|row| row[0] == first)?;
        Some(columns.into_iter().map(|(name, ..)| name).zip(row).collect())
    }

    /// One value of `SHOW CLASSES`. Nothing for a class that nobody was in.
    pub(crate) async fn text(&mut self, class: &str, column: &str) -> Option<String> {
        let mut row = self.row("SHOW CLASSES", class).await?;
        Some(row.remove(column).unwrap_or_else(|| panic!("no column {column}")))
    }

    /// The same, of a number. 0 for a class that nobody was in.
    pub(crate) async fn number(&mut self, class: &str, column: &str) -> u64 {
        let value = self.text(class, column).await;
        value.map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{column} is {value}")))
    }

    pub(crate) async fn wait_for(&mut self, class: &str, column: &str, wanted: u64) {
        eventually(&format!("{column} of {class} is {wanted}"), async || {
            (self.number(class, column).await == wanted).then_some(())
        })
        .await;
    }
}
