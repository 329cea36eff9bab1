//! The proxy's console, to see what shows nowhere else: who waits, and what was counted.

use std::collections::BTreeMap;

use super::frames::{Batch, Frame, shown};
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
        Self::log_in(&Login::to(rig.address()).database("pgweir")).await
    }

    /// Of somebody in particular.
    pub(crate) async fn log_in(login: &Login) -> Self {
        Self(login.connect().await)
    }

    /// A row of an answer, by the names of its columns. `None`: in none is this the first value.
    pub(crate) async fn row(
        &mut self,
        command: &str,
        first: &str,
    ) -> Option<BTreeMap<String, String>> {
        let (columns, mut rows) = self.answer(command).await;
        let found = rows.find(|row| row[0] == first)?;
        Some(columns.into_iter().zip(found).collect())
    }

    /// Gives a command, and does not wait for its answer.
    pub(crate) async fn begin(&mut self, command: &str) {
        self.0.send(Batch::new().query(command)).await;
    }

    /// Waits for the answer to such a command.
    pub(crate) async fn answered(&mut self) {
        self.0.answer().await;
    }

    /// Gives a command that must work. Answers with the notices.
    pub(crate) async fn order(&mut self, command: &str) -> Vec<String> {
        let frames = self.0.ask_frames(Batch::new().query(command)).await;
        let last: Vec<_> = shown(&frames).into_iter().rev().take(2).collect();
        assert!(last[1].starts_with("C("), "{command}: {:?}", shown(&frames));
        frames.iter().filter(|frame| frame.tag == b'N').map(Frame::message).collect()
    }

    /// Gives a command that must not work.
    pub(crate) async fn error(&mut self, command: &str) -> Frame {
        self.0.error(command).await
    }

    /// What `SHOW SETTINGS` says of an option: its value, and where that is from.
    pub(crate) async fn setting(&mut self, name: &str) -> (String, String) {
        let mut row = self.row("SHOW SETTINGS", name).await.expect("an option");
        let mut take = |column| row.remove(column).expect("a column");
        (take("value"), take("source"))
    }

    /// The rows of a command, by the names of the columns.
    pub(crate) async fn rows(&mut self, command: &str) -> Vec<BTreeMap<String, String>> {
        let (columns, rows) = self.answer(command).await;
        rows.map(|row| columns.iter().cloned().zip(row).collect()).collect()
    }

    async fn answer(
        &mut self,
        command: &str,
    ) -> (Vec<String>, impl Iterator<Item = Vec<String>> + use<>) {
        let frames = self.0.ask_frames(Batch::new().query(command)).await;
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{command}: {:?}", shown(&frames));
        let head = frames.iter().find(|frame| frame.tag == b'T');
        let columns = head.map(Frame::described).unwrap_or_default();
        let columns: Vec<_> = columns.into_iter().map(|(name, ..)| name).collect();
        let text = |value: Option<Vec<u8>>| {
            String::from_utf8(value.unwrap_or_default()).expect("the console sends text")
        };
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        let rows: Vec<Vec<String>> =
            rows.map(|row| row.columns().into_iter().map(text).collect()).collect();
        (columns, rows.into_iter())
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
