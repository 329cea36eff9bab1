//! What changes the proxy, done. Whatever takes its time keeps its own session waiting and nobody else.

use super::Console;
use super::parse::Verb;
use super::session::Session;
use crate::config::CONSOLE_DATABASES;
use crate::control::roster::Order;
use crate::control::shutdown::How;
use crate::end::{End, EndReason};
use crate::pool::halts::Resumed;
use std::rc::Rc;

impl Session<'_> {
    /// Does it, to one database or client or to all.
    pub(super) async fn act(&mut self, verb: Verb, argument: Option<&str>) -> Result<(), End> {
        let database = match verb {
            Verb::Disable
            | Verb::Enable
            | Verb::Kill
            | Verb::Pause
            | Verb::Reconnect
            | Verb::Resume
            | Verb::WaitClose => self.database(verb, argument)?,
            _ => None,
        };
        self.log(verb, argument);
        let registry = &self.console.registry;
        match verb {
            Verb::Disable => registry.halts.set_disabled(database.unwrap_or_default(), true),
            Verb::Enable => registry.halts.set_disabled(database.unwrap_or_default(), false),
            Verb::Kill => self.kill(database),
            Verb::KillClient => self.kill_client(argument)?,
            Verb::KillServer => self.kill_server(argument)?,
            Verb::Pause => self.pause(database).await?,
            Verb::Reconnect => registry.reconnect(self.worker(), database),
            Verb::Resume => self.resume(database)?,
            Verb::Shutdown => self.console.shutdown.ask(how(argument)),
            Verb::WaitClose => self.wait_for(registry.reconnected(database)).await?,
            Verb::Suspend => self.suspend().await?,
            Verb::Reload => self.reload().await?,
        }
        Ok(())
    }

    /// The database that is meant, if one is named: there is one of that name, and it is not this.
    fn database<'n>(&self, verb: Verb, name: Option<&'n str>) -> Result<Option<&'n str>, End> {
        let needs_one = matches!(verb, Verb::Disable | Verb::Enable);
        let Some(name) = name else {
            return if needs_one { Err(wrong("a database is required")) } else { Ok(None) };
        };
        if CONSOLE_DATABASES.contains(&name) {
            return Err(wrong(match verb {
                Verb::Pause => "cannot pause admin db".to_owned(),
                Verb::Resume => "cannot resume admin db".to_owned(),
                Verb::WaitClose => format!("cannot wait in admin db: {name}"),
                verb => format!("cannot {} admin db: {name}", verb.name().to_lowercase()),
            }));
        }
        if self.console.registry.config().database(name).is_none() {
            let message = format!("no such database: {name}");
            return Err(End::from(EndReason::DatabaseUnknown).with_message(message));
        }
        Ok(Some(name))
    }

    /// Answers once the last server is closed. A pause that was not answered has not happened: whoever
    /// cancels it, or leaves, undoes it.
    async fn pause(&mut self, database: Option<&str>) -> Result<(), End> {
        let registry = &self.console.registry;
        if database.is_none() && self.console.roster.is_suspended() {
            return Err(state(ALREADY));
        }
        let is_news = self.hold(database);
        if !is_news && database.is_none() {
            return Err(state(ALREADY));
        }
        match self.wait_for(registry.paused(database)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Resumed)) => Err(state("resumed before every server was released")),
            Err(end) => {
                if is_news {
                    tracing::info!(database, "console: PAUSE was not waited for: undone");
                    registry.resume(self.worker(), database);
                }
                Err(end)
            }
        }
    }

    /// Begins a pause. Says whether that is news.
    fn hold(&self, database: Option<&str>) -> bool {
        let is_news = self.console.registry.pause(self.worker(), database);
        self.console.roster.wake_leaving();
        is_news
    }

    /// Answers once nothing of anybody's is left in the proxy's hands. It is undone like a pause.
    async fn suspend(&mut self) -> Result<(), End> {
        let Console { registry, roster, .. } = &**self.console;
        if registry.halts.is_said_to_pause(None) || !roster.suspend() {
            return Err(state(ALREADY));
        }
        let limit = registry.config().process.suspend_timeout;
        let worker = Rc::clone(self.worker());
        match self.wait_for(roster.settle(limit, &worker)).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(ended)) => {
                tracing::warn!("console: {ended} clients could not be suspended in time: ended");
                Ok(())
            }
            Ok(Err(Resumed)) => Err(state("resumed before every client was suspended")),
            Err(end) => {
                tracing::info!("console: SUSPEND was not waited for: undone");
                roster.unsuspend();
                Err(end)
            }
        }
    }

    fn resume(&self, database: Option<&str>) -> Result<(), End> {
        let Console { registry, roster, .. } = &**self.console;
        let is_unsuspended = database.is_none() && roster.unsuspend();
        let is_news = registry.resume(self.worker(), database) || is_unsuspended;
        match database {
            _ if is_news => Ok(()),
            None => {
                let end = state("pooler is not paused/suspended");
                let paused = registry.halts.paused_by_name();
                let Some(first) = paused.first() else { return Err(end) };
                let hint = format!("Paused by name: {}. RESUME {first}", paused.join(", "));
                Err(end.with_hint(hint))
            }
            Some(name) => Err(state(format!("database {name} is not paused"))),
        }
    }

    /// A pause that waits for nobody.
    fn kill(&self, database: Option<&str>) {
        self.hold(database);
        for client in self.console.roster.clients() {
            if database.is_none_or(|name| client.pool().database == name) {
                client.call(Order::Quit(EndReason::Killed));
            }
        }
    }

    fn kill_client(&self, id: Option<&str>) -> Result<(), End> {
        let id = id.and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| wrong("invalid client pointer supplied"))?;
        let client = self.console.roster.named(id);
        client.ok_or_else(|| unknown("client not found"))?.call(Order::Quit(EndReason::Killed));
        Ok(())
    }

    /// By its process id in Postgres. Who has it is ended, too.
    fn kill_server(&self, pid: Option<&str>) -> Result<(), End> {
        let pid = pid.and_then(|pid| pid.parse().ok());
        let pid = pid.ok_or_else(|| wrong("invalid server process id supplied"))?;
        let retired = self.console.registry.retire_server(self.worker(), pid);
        let holder = retired.ok_or_else(|| unknown("server not found"))?;
        if let Some(client) = holder.and_then(|holder| self.console.roster.client(holder)) {
            client.call(Order::Quit(EndReason::Killed));
        }
        Ok(())
    }
}

const ALREADY: &str = "already suspended/paused";

/// The parser lets nothing else through.
fn how(argument: Option<&str>) -> How {
    match argument {
        None => How::Now,
        Some(how) if how.eq_ignore_ascii_case("WAIT_FOR_SERVERS") => How::WaitForServers,
        Some(_) => How::WaitForClients,
    }
}

fn wrong(message: impl Into<String>) -> End {
    End::from(EndReason::ConsoleArgument).with_message(message)
}

fn unknown(message: &str) -> End {
    End::from(EndReason::ConsoleTargetUnknown).with_message(message)
}

fn state(message: impl Into<String>) -> End {
    End::from(EndReason::ConsoleState).with_message(message)
}
