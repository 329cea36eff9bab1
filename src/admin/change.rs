//! `RELOAD`, `SET` and `SET CLASS`: changes of what holds. Making them is not for a worker with clients:
//! this waits for the task that does.

use super::session::{Session, notice};
use crate::config::overlay::ClassValue;
use crate::control::reload::{Change, Refused};
use crate::end::{End, EndReason};

/// The value that stands for what the file says.
const AS_IN_FILE: &str = "default";

/// The value of a class' option that stands for none, whatever the file says.
const NONE: &str = "none";

impl Session<'_> {
    pub(super) async fn reload(&mut self) -> Result<(), End> {
        self.make(Change::Reload("RELOAD")).await.map_err(|Refused { reason, more, .. }| {
            let end = End::from(EndReason::ConsoleReloadFailed)
                .with_message(format!("RELOAD failed, nothing has changed: {reason}"));
            if more.is_empty() { end } else { end.with_detail(more.join("\n")) }
        })
    }

    pub(super) async fn set(&mut self, name: &str, value: &str) -> Result<(), End> {
        let value = (!value.eq_ignore_ascii_case(AS_IN_FILE)).then(|| value.to_owned());
        self.make(Change::Set { name: name.to_owned(), value }).await.map_err(set_failed)
    }

    pub(super) async fn set_class(
        &mut self,
        class: &str,
        settings: &[(Box<str>, Box<str>)],
    ) -> Result<(), End> {
        let option = |(name, value): &(Box<str>, Box<str>)| {
            let value = match &**value {
                text if text.eq_ignore_ascii_case(AS_IN_FILE) => None,
                text if text.eq_ignore_ascii_case(NONE) => Some(ClassValue::Absent),
                text => Some(ClassValue::Text(text.to_owned())),
            };
            (name.to_string(), value)
        };
        let options = settings.iter().map(option).collect();
        self.make(Change::SetClass { class: class.to_owned(), options }).await.map_err(set_failed)
    }

    /// Waits for it to be made, and tells what is to be known of it.
    async fn make(&mut self, change: Change) -> Result<(), Refused> {
        let made = self.console.orders.give(change, Some(self.author())).await;
        self.worker().wake();
        for remark in made?.remarks {
            notice(&mut self.out, &remark, None);
        }
        Ok(())
    }
}

/// The message is PgBouncer's.
fn set_failed(Refused { reason, more, is_value_wrong }: Refused) -> End {
    let all: Vec<_> = std::iter::once(reason).chain(more).collect();
    let set_failed = EndReason::ConsoleSetFailed;
    let why = if is_value_wrong { EndReason::ConsoleValueInvalid } else { set_failed };
    End::from(why).with_detail(all.join("\n"))
}
